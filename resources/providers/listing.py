"""Executions out of a list's page: each item's exact bytes, with its id and its creation time read from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from resources.model import ExecutionRecord
from resources.providers.moments import moment_of
from resources.providers.protocol import Problem

PAGE_SIZE = 100


class _Head(msgspec.Struct, rename="camel"):
    id: object = None
    created_at: object = None


_HEAD = msgspec.json.Decoder(_Head)
_HEADS = msgspec.json.Decoder(list[_Head])


@dataclass(frozen=True, slots=True)
class Listing:
    """One page's items.

    Attributes:
        records: those that can be used, in the page's order; an id may be repeated.
        problems: the others, by the bytes of the item, so that a repeated one is told once.
    """

    records: tuple[ExecutionRecord, ...]
    problems: tuple[tuple[bytes, Problem], ...]


def read_items(items: Sequence[msgspec.Raw], where: str) -> Listing:
    """Read a page's items; an item without an id or a creation time is a problem and stops nothing."""
    records: list[ExecutionRecord] = []
    problems: list[tuple[bytes, Problem]] = []
    heads = _heads(items)
    for position, item in enumerate(items):
        raw = bytes(item)
        read = read_item(raw, where, position + 1) if heads is None else _read(raw, heads[position], where, position + 1)
        if isinstance(read, Problem):
            problems.append((raw, read))
        else:
            records.append(read)
    return Listing(tuple(records), tuple(problems))


def read_item(raw: bytes, where: str, number: int | None = None) -> ExecutionRecord | Problem:
    """Return one execution, or what is wrong with it; ``number`` is its place in ``where``, if that has several.

    Bytes that are not UTF-8 are replaced by U+FFFD, since JSON cannot hold them: the row is worth more than the letter.
    """
    try:
        if not raw.isascii():
            _ = raw.decode()
    except UnicodeDecodeError:
        raw = raw.decode(errors="replace").encode()
    try:
        head = _HEAD.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        lenient = _lenient_head(raw)
        if lenient is None:
            return Problem(_place(where, number), f"not a usable JSON object ({fault})")
        head = lenient
    return _read(raw, head, where, number)


def _heads(items: Sequence[msgspec.Raw]) -> list[_Head] | None:
    """Return the heads of all items, which is quicker at once, or None where one of them has to be looked at by itself."""
    text = b"[" + b",".join(items) + b"]"
    try:
        if not text.isascii():
            _ = text.decode()
        return _HEADS.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _read(raw: bytes, head: _Head, where: str, number: int | None) -> ExecutionRecord | Problem:
    if not isinstance(head.id, str) or not head.id:
        return Problem(_place(where, number), "no id")
    created_at = moment_of(head.created_at)
    if created_at is None:
        return Problem(f"{_place(where, number)}, id {head.id[:64]!r}", "no createdAt that is a time")
    return ExecutionRecord(head.id, created_at, raw)


def _place(where: str, number: int | None) -> str:
    return where if number is None else f"{where}, item {number}"


def _lenient_head(raw: bytes) -> _Head | None:
    """Return the head of an object that is not strict JSON (``NaN``, a bare control character): the lake keeps such rows too."""
    try:
        found: object = json.loads(raw, strict=False)
        if not isinstance(found, dict):
            return None
        fields = cast("dict[str, object]", found)
        name = fields.get("id")
        if isinstance(name, str):
            name.encode()
    except (ValueError, RecursionError):
        return None
    return _Head(name, fields.get("createdAt"))
