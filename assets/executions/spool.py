"""The rows of one walk, by day, held in memory while they are few and on local disk when they are many.

One walk may serve a year of days (Feather has no date filter), in any order of days: a year of calls does not fit in memory, a
day of them does. Only redacted rows come here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from assets.executions.intake import Row

MEMORY_BYTES = 64 * 1024 * 1024
"""How much raw JSON is held before all of it goes to disk."""

_LENGTH_BYTES = 8
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Row)


class Spool:
    """Takes rows in any order and gives them back by day, each day in the order in which its rows came."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limit = memory_bytes
        self._held: dict[date, list[Row]] = {}
        self._size = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, day: date, row: Row) -> None:
        """Keep a row."""
        self._held.setdefault(day, []).append(row)
        self._size += len(row.raw)
        if self._size > self._limit:
            self._flush()

    def rows(self, day: date) -> Iterator[Row]:
        """Yield the rows of a day."""
        if self._folder is not None and (path := self._path(self._folder.name, day)).exists():
            with path.open("rb") as file:
                while length := file.read(_LENGTH_BYTES):
                    yield _DECODER.decode(file.read(int.from_bytes(length)))
        yield from self._held.get(day, ())

    def _flush(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="recording-archive-")
        for day, rows in self._held.items():
            with self._path(self._folder.name, day).open("ab") as file:
                for row in rows:
                    packed = _ENCODER.encode(row)
                    file.write(len(packed).to_bytes(_LENGTH_BYTES) + packed)
        self._held.clear()
        self._size = 0

    @staticmethod
    def _path(folder: str, day: date) -> Path:
        return Path(folder, day.isoformat())
