"""What came instead of a recording: its first kilobyte, without secrets, for a person to look at.

A page that comes in place of a recording often quotes the question: the presigned URL, its signature, a key. So the bytes are
cleaned here, where the link is known, before anything else sees them.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from resources.known_secrets import REDACTED, known_secrets
from resources.redaction import redact

EVIDENCE_BYTES = 1024
"""How much is kept."""
READ_BYTES = 4 * EVIDENCE_BYTES
"""How much is looked at: a secret that begins within what is kept may end beyond it."""

_SECRET_CHARACTERS = 8
_PARTIAL_CHARACTERS = 4
_QUERY = re.compile(r"\?[^\s\"'<>]*")
# Signatures, session tokens, keys that nobody knows of: words that no person writes. A UUID has 36 characters.
_OPAQUE = re.compile(r"[A-Za-z0-9+_=-]{40,}")
_LAST_WORD = re.compile(r"[^\s\"'<>]{1,200}\Z")
_GZIP = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PLAIN_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """The beginning of a body that was no recording.

    Attributes:
        head: at most :data:`EVIDENCE_BYTES`, without secrets. Never in a message, a log or an event.
        seems: what it seems to be, in words.
        declared_type: what the host called it, or None.
        length: the bytes that the host announced, or None.
    """

    head: bytes = field(repr=False)
    seems: str
    declared_type: str | None = None
    length: int | None = None


def cleaned(head: bytes, urls: Iterable[str] = (), encoding: str = "") -> bytes:
    """Return the first :data:`EVIDENCE_BYTES` of a body without secrets: queries, keys, and all that stood in ``urls``.

    Args:
        head: up to :data:`READ_BYTES` of the body.
        urls: every URL that was asked for it.
        encoding: the body's Content-Encoding. What is packed is unpacked, since a packed secret cannot be found; of a packing
            that cannot be undone here nothing is kept.
    """
    if encoding.strip().lower() not in _PLAIN_ENCODINGS:
        return b""
    if head.startswith(_GZIP):
        head = _unpacked(head)
    text, codec = _text_of(head[:READ_BYTES])
    secrets = sorted({*_secrets_of(urls), *known_secrets()}, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    text = _QUERY.sub("?", redact(text))
    text = _OPAQUE.sub(REDACTED, text)
    text = _without_partial(text, secrets)
    return text.encode(codec, errors="replace")[:EVIDENCE_BYTES]


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, READ_BYTES)
    except zlib.error:
        return b""


def _text_of(head: bytes) -> tuple[str, str]:
    """Return the text of a body, and the codec that gives its bytes back; Latin-1 gives every byte back as it was."""
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return head.decode(codec, errors="ignore"), "utf-8"  # a code unit that was cut in two
    if len(head) >= 2 and 0 in head[:2] and head[:READ_BYTES].count(0) * 3 >= len(head):  # noqa: PLR2004 -- wide text without a mark
        return head.replace(b"\0", b"").decode("latin-1"), "latin-1"
    return head.decode("latin-1"), "latin-1"


def _secrets_of(urls: Iterable[str]) -> Iterator[str]:
    """Yield what is secret in presigned URLs: the query as a whole, and each of its values, as they are written and decoded."""
    for url in urls:
        query = urlsplit(url).query
        values = [query, *(part.partition("=")[2] for part in query.split("&")), *(value for _, value in parse_qsl(query))]
        for value in values:
            forms = {value, unquote(value), *unquote(value).split("/")}
            yield from (form for form in forms if len(form) >= _SECRET_CHARACTERS)


def _without_partial(text: str, secrets: Iterable[str]) -> str:
    """Return ``text``, which may be cut off, without the beginning of a secret at its end."""
    tail = _LAST_WORD.search(text)
    if tail is None:
        return text
    word = tail.group()
    for secret in secrets:
        for length in range(min(len(secret) - 1, len(word)), _PARTIAL_CHARACTERS - 1, -1):
            if word.endswith(secret[:length]):
                return text[: len(text) - length]
    return text
