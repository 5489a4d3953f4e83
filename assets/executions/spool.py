"""The rows of one walk, by day, held in memory while they are few and on local disk when they are many.

One walk may serve a year of days (Feather has no date filter), in any order of days: neither a year of executions fits in memory,
nor a day of two million. The same serves a large day that is merged in slices. Only redacted rows come here.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec

from assets.executions.intake import Entry, Row

MEMORY_BYTES = 64 * 1024 * 1024
"""How much is held before all of it goes to disk."""
ROW_BYTES = 512
"""What a row takes in memory beside its raw JSON, about."""

_LENGTH_BYTES = 8
_ENCODER = msgspec.msgpack.Encoder()

Kept = TypeVar("Kept", Row, Entry)
Key = date | int


class Spool(Generic[Kept]):
    """Takes rows in any order and gives them back by day (or by number), each in the order in which its rows came."""

    def __init__(self, kind: type[Kept], memory_bytes: int = MEMORY_BYTES) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._limit = memory_bytes
        self._held: dict[Key, list[Kept]] = {}
        self._held_bytes = 0
        self._sizes: defaultdict[Key, int] = defaultdict(int)
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, key: Key, row: Kept) -> None:
        """Keep a row."""
        self._held.setdefault(key, []).append(row)
        size = len(row.raw) + ROW_BYTES
        self._sizes[key] += size
        self._held_bytes += size
        if self._held_bytes > self._limit:
            self._flush()

    def size(self, key: Key) -> int:
        """Return what the rows of a day take in memory, about, in bytes; 0 where there are none."""
        return self._sizes.get(key, 0)

    def rows(self, key: Key) -> Iterator[Kept]:
        """Yield the rows of a day."""
        if self._folder is not None and (path := self._path(self._folder.name, key)).exists():
            with path.open("rb") as file:
                while length := file.read(_LENGTH_BYTES):
                    yield self._decoder.decode(file.read(int.from_bytes(length)))
        yield from self._held.get(key, ())

    def discard(self, key: Key) -> None:
        """Forget the rows of a day."""
        self._held_bytes -= sum(len(row.raw) + ROW_BYTES for row in self._held.pop(key, ()))
        self._sizes.pop(key, None)
        if self._folder is not None:
            self._path(self._folder.name, key).unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="recording-archive-")
        for key, rows in self._held.items():
            with self._path(self._folder.name, key).open("ab") as file:
                for row in rows:
                    packed = _ENCODER.encode(row)
                    file.write(len(packed).to_bytes(_LENGTH_BYTES) + packed)
        self._held.clear()
        self._held_bytes = 0

    @staticmethod
    def _path(folder: str, key: Key) -> Path:
        return Path(folder, str(key))
