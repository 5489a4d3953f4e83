"""The Parquet files of the ledger: reading them so that a bad one is named, whoever put it there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from assets.recordings.events import NEVER_NULL, SCHEMA, Flaw
from assets.recordings.ledger import places
from assets.recordings.lifecycle import Outcome, State
from resources.arrow import compute as pc
from resources.errors import StorageError
from resources.model import Leg
from resources.redaction import redact
from resources.storage import ArchiveStorage

ROW_GROUP_ROWS = 8192
"""Small enough that the rows of one recording are found by reading little, large enough to compress."""
_REASON_CHARACTERS = 300
_READERS, _DECODERS, _FEW = 16, 2, 16
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
_WORDS = {
    "leg": pa.array([leg.value for leg in Leg]),
    "outcome": pa.array([outcome.value for outcome in Outcome]),
    "state": pa.array([state.value for state in State]),
    "flaw": pa.array([*(flaw.value for flaw in Flaw), None], pa.string()),
}
_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, OverflowError)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = (
    int((moment - _EPOCH).total_seconds()) * 1_000_000
    for moment in (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
)


def read_tables(storage: ArchiveStorage, paths: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of files of :data:`~assets.recordings.events.SCHEMA`, or the ``columns`` of them, in their order.

    Raises:
        NotStoredError: one is not there.
        StorageError: one is damaged; the message says which, and what to do.
    """
    schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    stored = _stored(storage, paths)
    try:
        tables = list(_mapped(lambda each: _decoded(each[1], schema), stored, _DECODERS))
        # All at once: a hundred small tables take a hundred times as long to check as one.
        table = pa.concat_tables([schema.empty_table(), *tables])
        _check(table)
        _check_days(table, paths)
    except _DAMAGE:
        for path, data in stored:
            _check_one(storage, path, data, schema)
        raise
    return table


def _stored(storage: ArchiveStorage, paths: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return the files with their bytes; where reading is waiting for a network, many at a time."""
    readers = 1 if storage.local_path() is not None else _READERS
    return list(_mapped(lambda path: (path, storage.read(path)), paths, readers))


def _mapped(work: Callable[[_Item], _Made], items: Sequence[_Item], workers: int) -> Iterator[_Made]:
    """Yield the ``work`` of each item in their order; by threads where there are enough of them to win something."""
    if workers == 1 or len(items) < _FEW:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, items)


def _check_one(storage: ArchiveStorage, path: str, data: bytes, schema: pa.Schema) -> None:
    """Raise StorageError where this is the file that is damaged."""
    try:
        table = _decoded(data, schema)
        _check(table)
        _check_days(table, [path])
    except _DAMAGE as error:
        raise damaged(storage, path, error) from None


def damaged(storage: ArchiveStorage, path: str, error: Exception) -> StorageError:
    """Return the error for a file that is not what it should be; its words may be anybody's."""
    words = redact(" ".join(str(error).split()))[:_REASON_CHARACTERS]
    msg = f"{path} in {storage.url} is damaged ({words}): restore it from a copy, or move it away and run again"
    return StorageError(msg)


def to_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return sink.getvalue()


def from_bytes(data: bytes) -> pa.Table:
    """Read a Parquet file of the schema; columns that it lacks (an older version wrote it) come as nulls, others are left out.

    Raises:
        ArrowException, OSError, ValueError, TypeError, OverflowError: it is damaged.
    """
    table = _decoded(data, SCHEMA)
    _check(table)
    return table


def _decoded(data: bytes, schema: pa.Schema) -> pa.Table:
    # Event files are small and many: threads, and a copy of each column, cost more than the reading.
    table = pq.ParquetFile(pa.BufferReader(data)).read(columns=schema.names, use_threads=False).replace_schema_metadata()
    if table.schema.equals(schema):
        return table
    present = set(table.column_names)
    missing = [name for name in NEVER_NULL if name in schema.names and name not in present]
    if missing:
        msg = f"no column {', '.join(missing)}"
        raise pa.ArrowInvalid(msg)
    parts = [
        table[field.name].cast(field.type) if field.name in present else pa.nulls(table.num_rows, field.type) for field in schema
    ]
    return pa.Table.from_arrays(parts, schema=schema)


def _check(table: pa.Table) -> None:
    """Refuse what no version that this one knows has written: one such row would spoil the state of its whole day."""
    empty = [name for name in NEVER_NULL if name in table.column_names and table[name].null_count]
    if empty:
        msg = f"no value in {', '.join(empty)}"
        raise pa.ArrowInvalid(msg)
    _check_values(table)


def _check_values(table: pa.Table) -> None:
    for name, known in _WORDS.items():
        if name in table.column_names:
            strange = table[name].filter(pc.invert(pc.is_in(table[name], value_set=known)))
            if len(strange):
                msg = f"unknown {name} {str(strange[0].as_py())[:40]!r}"
                raise pa.ArrowInvalid(msg)
    for field in table.schema:
        if pa.types.is_timestamp(field.type) and not _is_on_the_calendar(table[field.name]):
            msg = f"{field.name} is beyond the calendar"
            raise pa.ArrowInvalid(msg)


def _is_on_the_calendar(moments: pa.ChunkedArray) -> bool:
    if moments.null_count == len(moments):
        return True
    bounds = pc.min_max(moments.cast(pa.int64()))
    return bool(bounds["min"].as_py() >= _EARLIEST and bounds["max"].as_py() < _LATEST)


def _check_days(table: pa.Table, paths: Sequence[str]) -> None:
    """Refuse events in the file of another day: the state of a day is made of its own files alone."""
    if "date" not in table.column_names:
        return
    days = {places.day_of(path) for path in paths if places.is_events(path)}
    others = set(table["date"].unique().to_pylist()) - days
    if days and others:
        msg = f"it holds events of other days: {min(map(str, others))}"
        raise pa.ArrowInvalid(msg)
