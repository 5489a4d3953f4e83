"""The Parquet files of the ledger: reading them so that a bad one is named, whoever put it there."""

from __future__ import annotations

import io
from datetime import UTC, datetime

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
_WORDS = {
    "leg": pa.array([leg.value for leg in Leg]),
    "outcome": pa.array([outcome.value for outcome in Outcome]),
    "state": pa.array([state.value for state in State]),
    "flaw": pa.array([*(flaw.value for flaw in Flaw), None], pa.string()),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = (
    int((moment - _EPOCH).total_seconds()) * 1_000_000
    for moment in (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
)


def read_table(storage: ArchiveStorage, path: str, columns: list[str] | None = None) -> pa.Table:
    """Return a file of :data:`~assets.recordings.events.SCHEMA`, or the ``columns`` of it.

    Raises:
        NotStoredError: there is none.
        StorageError: it is damaged; the message says what to do.
    """
    data = storage.read(path)
    try:
        return _checked(path, from_bytes(data, columns=columns))
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
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


def from_bytes(data: bytes, *, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file of the schema; columns that it lacks (an older version wrote it) come as nulls, others are left out."""
    # Event files are small and many: threads, and a copy of each column, cost more than the reading.
    file = pq.ParquetFile(pa.BufferReader(data))
    wanted = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    present = set(file.schema_arrow.names)
    table = file.read(columns=[name for name in wanted.names if name in present], use_threads=False)
    if not table.schema.equals(wanted):
        parts = [
            table[name].cast(wanted.field(name).type) if name in present else pa.nulls(table.num_rows, wanted.field(name).type)
            for name in wanted.names
        ]
        table = pa.Table.from_arrays(parts, schema=wanted)
    read = table.replace_schema_metadata()
    empty = [name for name in NEVER_NULL if name in wanted.names and read[name].null_count]
    if empty:
        msg = f"no value in {', '.join(empty)}"
        raise pa.ArrowInvalid(msg)
    _check_values(read)
    return read


def _check_values(table: pa.Table) -> None:
    """Refuse what no version that this one knows has written: one such row would spoil the state of its whole day."""
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


def _checked(path: str, table: pa.Table) -> pa.Table:
    """Refuse events in the file of another day: the state of a day is made of its own files alone."""
    if places.is_events(path) and "date" in table.column_names and table.num_rows:
        day = places.day_of(path)
        if pc.any(pc.not_equal(table["date"], pa.scalar(day, pa.date32()))).as_py():
            msg = f"it holds events of other days than {day}"
            raise pa.ArrowInvalid(msg)
    return table
