"""A list's page in which one item is no JSON that can be read: the others must not be lost with it.

One decoder reads the whole page; a ``NaN``, a number beyond all types or ten thousand brackets in a single item end it. Then the
page is taken apart at its brackets and quotes alone, without recursion, and each item stands for itself.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TypeVar

import msgspec

from resources.errors import UnexpectedAnswerError
from resources.providers.api import Reply

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
_QUOTE, _COMMA = ord('"'), ord(",")
_OPENING, _CLOSING = b"[{", b"]}"
_IN_OBJECT, _IN_LIST = 1, 2

Page = TypeVar("Page", bound=msgspec.Struct)


def read_page(reply: Reply, shape: type[Page], attribute: str) -> Page:
    """Return a page as ``shape``, whose ``attribute`` is its list of raw items; a bad item stays in it as it came.

    Raises:
        UnexpectedAnswerError: it is not such a page, apart from its items.
    """
    try:
        return reply.json(shape)
    except UnexpectedAnswerError:
        names = {field.name: field.encode_name for field in msgspec.structs.fields(shape)}
        spans = item_spans(reply.body, names[attribute])
        if not spans:
            raise
        rest = reply.body[: spans[0][0]] + reply.body[spans[-1][1] :]
        page = replace(reply, body=rest).json(shape)
        items = [msgspec.Raw(reply.body[start:end]) for start, end in spans]
        return msgspec.structs.replace(page, **{attribute: items})


def item_spans(body: bytes, key: str) -> list[tuple[int, int]]:
    """Return where the items of the list at ``key`` of a JSON object begin and end; none where there is no such list."""
    wanted = b'"%s"' % key.encode()
    depth, last, start = 0, b"", -1
    spans: list[tuple[int, int]] = []
    for token in _TOKEN.finditer(body):
        mark = body[token.start()]
        if mark == _QUOTE:
            last = token.group() if depth == _IN_OBJECT else last
        elif mark in _OPENING:
            depth += 1
            if start < 0 and depth == _IN_LIST and body[token.start()] == _OPENING[0] and last == wanted:
                start = token.end()
        elif start >= 0 and depth == _IN_LIST:
            spans.append((start, token.start()))
            if mark != _COMMA:
                return [span for span in spans if body[slice(*span)].strip()]
            start = token.end()
        elif mark in _CLOSING:
            depth -= 1
    return []
