"""The executions lake: one partition is one provider's UTC day, with one current row for each execution.

A partition's files are immutable and each holds the whole partition. A file's name says which files it replaces::

    000003-9f2c41d07ab8_51c0e7aa93f1.parquet      the third generation, 9f2c..., in place of 51c0...

So one listing tells the current files: those that no other file replaces. Usually that is one. When two runs wrote at the same
time, or a slow one came with old knowledge, there are two: the reader merges them, and the next writer replaces both, so nothing
that either had read is lost, whoever came last. A file is visible whole or not at all (:meth:`ArchiveStorage.create`), so a run
that dies before that has changed nothing. A replaced file stays until the next write, for readers that are on it; then the oldest
go first, so that none comes back for want of the one that replaced it.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import reduce
from typing import cast
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from assets.executions.decode import EPOCH, decode, moments
from assets.executions.intake import Row
from assets.executions.merge import merge
from assets.executions.schema import FIRST_SEEN, LAST_SEEN, RAW, TIMESTAMP, fingerprint, lake_schema
from resources.errors import NotStoredError, StorageError
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage

FOLDER = "lake/executions"
_FINGERPRINT = b"recording_archive.fingerprint"
_PATH = re.compile(
    rf"{FOLDER}/provider=[^/]+/date=(?P<day>\d{{4}}-\d\d-\d\d)/"
    r"(?P<generation>\d{6,})-(?P<id>[0-9a-f]{12})(?P<replaces>(?:_[0-9a-f]{12})*)\.parquet"
)
_IDENTITY_SCHEMA = pa.schema(
    [("execution_id", pa.string()), (RAW, pa.string()), *((name, TIMESTAMP) for name in ("created_at", FIRST_SEEN, LAST_SEEN))]
)
_IDENTITY = _IDENTITY_SCHEMA.names
_ID_DIGITS = 12
# Fits into a file name of 255 bytes. More current files need more writers at one instant; the next write takes the rest.
_REPLACED_MAX = 16
_ROW_GROUP_ROWS = 20_000
_TRIES = 5


@dataclass(frozen=True, slots=True, order=True)
class _File:
    """One file of a partition, as its name describes it; older generations sort first."""

    generation: int
    id: str
    day: date
    path: str
    replaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A partition at one moment.

    Attributes:
        table: its rows, sorted by creation.
        files: the current files that they come from.
        settled: False where the next write should happen even without news: two runs have written at once, or the file is of an
            older version of the spec.
    """

    table: pa.Table
    files: tuple[_File, ...]
    settled: bool


def partition_folder(provider: str, day: date) -> str:
    """Return the folder of one partition."""
    return f"{FOLDER}/provider={provider}/date={day.isoformat()}"


def partitions(storage: ArchiveStorage, provider: str) -> list[date]:
    """Return the days that have executions, ascending."""
    return sorted(partition_files(storage, provider))


def partition_files(storage: ArchiveStorage, provider: str) -> dict[date, tuple[str, ...]]:
    """Return the current files of each day, from one listing; a day's files change whenever its rows do."""
    days: dict[date, list[_File]] = defaultdict(list)
    for file in _files(storage, f"{FOLDER}/provider={provider}"):
        days[file.day].append(file)
    return {day: tuple(file.path for file in _current(files)) for day, files in days.items()}


def read_partition(storage: ArchiveStorage, spec: ProviderSpec, day: date) -> pa.Table:
    """Return one partition as a table of the provider's lake schema, sorted by creation; empty when it was never written.

    A file that an older version of the spec wrote is decoded again from its raw JSON.

    Raises:
        StorageError: the root failed, or a file is damaged.
    """
    return snapshot(storage, spec, day).table


def snapshot(storage: ArchiveStorage, spec: ProviderSpec, day: date) -> Snapshot:
    """Return a partition as it is now; raises as :func:`read_partition` does."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(NotStoredError):  # a writer removed a file that was replaced long ago: list again
            return _snapshot(storage, spec, day)
    return _snapshot(storage, spec, day)


def write_partition(storage: ArchiveStorage, spec: ProviderSpec, day: date, rows: Iterable[Row]) -> pa.Table:
    """Merge ``rows`` into the partition, write it and return it.

    Raises:
        StorageError: nothing was changed.
    """
    before = snapshot(storage, spec, day)
    merged = merge(spec, rows_of(before.table), rows)
    table = updated(spec, day, before.table, merged.rows)
    write(storage, spec, day, table, before)
    return table


def write(storage: ArchiveStorage, spec: ProviderSpec, day: date, table: pa.Table, before: Snapshot) -> None:
    """Write a whole partition in place of the files of ``before``, which ``table`` must contain.

    Raises:
        StorageError: nothing was changed.
    """
    sink = io.BytesIO()
    metadata = {_FINGERPRINT: fingerprint(spec).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
    replaced = before.files[:_REPLACED_MAX]
    generation = 1 + max((file.generation for file in before.files), default=0)
    name = "_".join((f"{generation:06d}-{uuid4().hex[:_ID_DIGITS]}", *(file.id for file in replaced)))
    storage.create(f"{partition_folder(spec.name, day)}/{name}.parquet", sink.getvalue())
    with contextlib.suppress(StorageError):  # the rows are safe: what cannot be removed now is removed by a later write
        _remove_replaced(storage, spec.name, day, keep=replaced)


def _remove_replaced(storage: ArchiveStorage, provider: str, day: date, keep: Sequence[_File]) -> None:
    files = _files(storage, partition_folder(provider, day))
    for file in sorted(set(files) - set(_current(files)) - set(keep)):
        storage.delete(file.path)


def _snapshot(storage: ArchiveStorage, spec: ProviderSpec, day: date) -> Snapshot:
    files = _current(_files(storage, partition_folder(spec.name, day)))
    parts = [_read(storage, file) for file in files]
    fresh = fingerprint(spec).encode()
    settled = len(files) <= 1 and all((part.schema.metadata or {}).get(_FINGERPRINT) == fresh for part in parts)
    if not parts:
        table = lake_schema(spec).empty_table()
    elif settled:
        table = parts[0].replace_schema_metadata(None).cast(lake_schema(spec))
    else:
        known = reduce(lambda one, two: merge(spec, one, two.values()).rows, map(rows_of, parts))
        table = updated(spec, day, lake_schema(spec).empty_table(), known)
    return Snapshot(table, tuple(files), settled)


def _files(storage: ArchiveStorage, folder: str) -> list[_File]:
    """Return the files of our own below a folder; others (a desktop's ``.DS_Store``) are none of our business."""
    files: list[_File] = []
    for info in storage.list(folder):
        if (name := _PATH.fullmatch(info.path)) is not None:
            with contextlib.suppress(ValueError):  # a folder that only looks like a day
                day = date.fromisoformat(name["day"])
                files.append(_File(int(name["generation"]), name["id"], day, info.path, tuple(name["replaces"].split("_")[1:])))
    return files


def _current(files: Sequence[_File]) -> list[_File]:
    replaced = {name for file in files for name in file.replaces}
    return sorted(file for file in files if file.id not in replaced)


def _read(storage: ArchiveStorage, file: _File) -> pa.Table:
    data = storage.read(file.path)
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        table.select(_IDENTITY).cast(_IDENTITY_SCHEMA).validate(full=True)
    except (pa.ArrowException, OSError, KeyError) as error:
        msg = f"{file.path} is damaged ({type(error).__name__}): remove it, and read that day again"
        raise StorageError(msg) from None
    return table


def rows_of(table: pa.Table) -> dict[str, Row]:
    """Return the rows of a partition, undecoded, by execution id."""
    ids, raws = (cast("list[str]", table[name].to_pylist()) for name in ("execution_id", RAW))
    created, first, last = (_moments_of(table[name]) for name in ("created_at", FIRST_SEEN, LAST_SEEN))
    return {row[0]: Row(*row) for row in zip(ids, created, raws, first, last, strict=True)}


def _moments_of(column: pa.ChunkedArray) -> Iterable[datetime]:
    # By way of integers: Arrow takes ten times as long to make datetimes with a zone.
    numbers = cast("list[int]", column.cast(TIMESTAMP).cast(pa.int64()).to_pylist())
    return (EPOCH + timedelta(microseconds=number) for number in numbers)


def updated(spec: ProviderSpec, day: date, table: pa.Table, rows: Mapping[str, Row]) -> pa.Table:
    """Return ``rows`` as the table of their partition, sorted by creation.

    Only rows that ``table`` does not hold as they are, raw JSON and time of creation, are decoded; of the others only the times
    of seeing are written anew.
    """
    held = {key: (number, row) for number, (key, row) in enumerate(rows_of(table).items())}
    ordered = sorted(rows.values(), key=lambda row: (row.created_at, row.execution_id))
    fresh: list[Row] = []
    places: list[int] = []
    for row in ordered:
        number, known = held.get(row.execution_id, (0, None))
        if known is not None and known.raw == row.raw and known.created_at == row.created_at:
            places.append(number)
        else:
            places.append(table.num_rows + len(fresh))
            fresh.append(row)
    both = pa.concat_tables([table, decode(spec, fresh, day)]).take(pa.array(places, pa.int64()))
    for name, seen in (
        (FIRST_SEEN, moments(row.first_seen_at for row in ordered)),
        (LAST_SEEN, moments(row.last_seen_at for row in ordered)),
    ):
        both = both.set_column(both.schema.get_field_index(name), name, seen)
    return both.cast(lake_schema(spec))
