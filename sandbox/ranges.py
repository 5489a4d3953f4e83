"""HTTP ranges: one range of bytes, as S3 answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from ``start`` to before ``stop``."""

    start: int
    stop: int


class UnsatisfiableError(ValueError):
    """The range begins after the end."""


def parse_range(header: str | None, length: int) -> Span | None:
    """Return the span that a ``Range`` header asks for, or None when the whole is to be sent.

    A header that is not understood, or asks for several ranges, is left out of account, as RFC 9110 allows.

    Raises:
        UnsatisfiableError: no byte of the range exists.
    """
    match = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        if int(last) == 0:
            raise UnsatisfiableError
        return Span(max(0, length - int(last)), length)
    start = int(first)
    if start >= length:
        raise UnsatisfiableError
    stop = min(length, int(last) + 1) if last else length
    return Span(start, stop) if stop > start else None
