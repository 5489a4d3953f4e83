"""The Parquet files of the ledger: reading them so that a bad one is named, whoever put it there."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from assets.recordings.events import NEVER_NULL, SCHEMA, Flaw
from assets.recordings.ledger import places
from assets.recordings.lifecycle import Outcome, State
from resources.arrow import compute as pc
from resources.errors import DamagedError
from resources.model import Leg
from resources.redaction import redact
from resources.storage import ArchiveStorage

ROW_GROUP_ROWS = 8192
"""Small enough that the rows of one recording are found by reading little, large enough to compress."""
_REASON_CHARACTERS = 300
_RESTORE = "restore it from a copy, or move it away and run again"
_READERS = 16
_SMALL_BYTES = 128 * 1024
_FOOTER_BYTES = 256 * 1024
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


def read_tables(
    storage: ArchiveStorage, paths: Sequence[str], columns: Sequence[str] | None = None, *, again: bool = False
) -> pa.Table:
    """Return the rows of files of :data:`~assets.recordings.events.SCHEMA`, or the ``columns`` of them, in their order.

    Args:
        storage: the archive root.
        paths: of the files.
        columns: which; all by default.
        again: who asks does so again and again, and builds nothing on it: event files that were read before are not read anew.

    Raises:
        NotStoredError: one is not there.
        DamagedError: one is damaged; the message says which, and what to do.
    """
    # In the order in which they lie in the files: another one would have each file's columns moved.
    schema = SCHEMA if columns is None else pa.schema([field for field in SCHEMA if field.name in columns])
    recent = {path: _RECENT.get(storage, path, schema) for path in paths} if again else {}
    known = {path: table for path, table in recent.items() if table is not None}
    stored = _stored(storage, [path for path in paths if path not in known])
    try:
        fresh = {path: _decoded(data, schema) for path, data in stored}
        # All at once: a hundred small tables take a hundred times as long to check as one.
        table = pa.concat_tables([schema.empty_table(), *(known[path] if path in known else fresh[path] for path in paths)])
        if columns is None or any(map(places.is_events, paths)):  # what a fold made was checked before
            _check(table)
            _check_days(table, paths)
    except _DAMAGE:
        for path, data in stored:
            _check_one(storage, path, data, schema)
        raise
    for path, data in stored if again else ():
        _RECENT.keep(storage, path, fresh[path], len(data))
    return table if columns is None else table.select(list(columns))


def read_day(storage: ArchiveStorage, path: str, day: date, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of one day of a file of several, or the ``columns`` of them: the row groups of other days are not read.

    Raises:
        NotStoredError: it is not there.
        DamagedError: it is damaged.
    """
    schema = SCHEMA if columns is None else pa.schema([field for field in SCHEMA if field.name in columns])
    # Over a network, the columns of a row group are fetched together.
    with storage.open(path, block_bytes=_FOOTER_BYTES) as source:
        try:
            with pq.ParquetFile(source, pre_buffer=storage.local_path() is None) as file:
                read = file.read_row_groups(_groups_of(file, day), columns=schema.names, use_threads=False)
            table = _fitted(read.replace_schema_metadata(), schema)
        except _DAMAGE as error:
            raise damaged(storage, path, error) from None
    return table if columns is None else table.select(list(columns))


def _groups_of(file: pq.ParquetFile, day: date) -> list[int]:
    """Return the row groups of a day, by the statistics; no row group holds rows of two days."""
    place, footer = file.schema_arrow.get_field_index("date"), file.metadata
    found = (footer.row_group(number).column(place).statistics for number in range(footer.num_row_groups))
    return [number for number, each in enumerate(found) if each is not None and each.has_min_max and each.min == day]


class _Recent:
    """The small event files that were read last. They never change, and a sensor looks at the same ones each minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tables: OrderedDict[tuple[str, str, pa.Schema], pa.Table] = OrderedDict()
        self._turn = threading.Lock()

    def get(self, storage: ArchiveStorage, path: str, schema: pa.Schema) -> pa.Table | None:
        """Return a file's rows, if they are known."""
        with self._turn:
            key = (storage.url, path, schema)
            if key in self._tables:
                self._tables.move_to_end(key)
            return self._tables.get(key)

    def clear(self) -> None:
        """Forget all of them."""
        with self._turn:
            self._tables.clear()

    def keep(self, storage: ArchiveStorage, path: str, table: pa.Table, size: int) -> None:
        """Keep the rows of an event file of so many bytes, unless it is a large one."""
        if size > _SMALL_BYTES or not places.is_appended(path):
            return
        with self._turn:
            self._tables[storage.url, path, table.schema] = table
            while len(self._tables) > self._most:
                self._tables.popitem(last=False)


_RECENT = _Recent(1024)


def forget_recent() -> None:
    """Read every file anew from here on, as a process that has just begun does."""
    _RECENT.clear()


def _stored(storage: ArchiveStorage, paths: Sequence[str]) -> list[tuple[str, bytes]]:
    """Return the files with their bytes; where reading is waiting for a network, many at a time."""
    if storage.local_path() is not None or len(paths) == 1:
        return [(path, storage.read(path)) for path in paths]
    with ThreadPoolExecutor(_READERS) as readers:
        return list(zip(paths, readers.map(storage.read, paths), strict=True))


def _check_one(storage: ArchiveStorage, path: str, data: bytes, schema: pa.Schema) -> None:
    """Raise DamagedError where this is the file that is damaged."""
    try:
        table = _decoded(data, schema)
        _check(table)
        _check_days(table, [path])
    except _DAMAGE as error:
        raise damaged(storage, path, error) from None


def damaged(storage: ArchiveStorage, path: str, error: Exception) -> DamagedError:
    """Return the error for a file that is not what it should be; its words may be anybody's.

    What a fold made is made again from the events; of everything else a copy is needed.
    """
    words = redact(" ".join(str(error).split()))[:_REASON_CHARACTERS]
    is_derived = places.is_derived(path) or places.generation_of_snapshot(path) is not None
    remedy = "run `recording-archive rebuild`, which makes it again from the events" if is_derived else _RESTORE
    return DamagedError(f"{path} in {storage.url} is damaged ({words}): {remedy}")


def to_bytes(table: pa.Table, *apart: pa.Table, read_often: Collection[str] = ()) -> bytes:
    """Return a table as a Parquet file.

    Args:
        table: the rows.
        apart: others, which lie behind it; no row group has rows of two.
        read_often: columns whose values are all different and are read again and again: they take up twice the room, and are
            read in less than half the time (measured with ids).
    """
    sink = io.BytesIO()
    names = table.schema.names
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression={name: "lz4" if name in read_often else "zstd" for name in names},
        use_dictionary=cast("bool", [name for name in names if name not in read_often]),
    ) as writer:
        for each in (table, *apart):
            writer.write_table(each, row_group_size=ROW_GROUP_ROWS)
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
    read = pq.ParquetFile(pa.BufferReader(data)).read(columns=schema.names, use_threads=False)
    return _fitted(read.replace_schema_metadata(), schema)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table in the columns of ``schema``: nulls for those that an older version did not write."""
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
    if not days:
        return
    others = set(table["date"].unique().to_pylist()) - days
    if others:
        msg = f"it holds events of other days: {min(map(str, others))}"
        raise pa.ArrowInvalid(msg)
