"""The executions lake: one partition is one provider's UTC day, with one current row for each execution.

A partition's files are immutable. A new file holds the whole partition and names, in its Parquet metadata, the files that it
replaces; the current files are those that no other file replaces. Usually that is one. When two runs wrote at the same time there
are two, and the reader merges them: nothing that either read is lost, whoever came last. A replaced file stays until the next
write, for readers that are on it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import date
from functools import reduce
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from assets.executions.decode import decode
from assets.executions.intake import Row
from assets.executions.merge import merge
from assets.executions.schema import FIRST_SEEN, LAST_SEEN, RAW, fingerprint, lake_schema
from resources.errors import NotStoredError
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage

FOLDER = "lake/executions"
_REPLACES = b"recording_archive.replaces"
_FINGERPRINT = b"recording_archive.fingerprint"
_ROW_GROUP_ROWS = 20_000
_TRIES = 5


def partition_folder(provider: str, day: date) -> str:
    """Return the folder of one partition."""
    return f"{FOLDER}/provider={provider}/date={day.isoformat()}"


def partitions(storage: ArchiveStorage, provider: str) -> list[date]:
    """Return the days that have executions, ascending."""
    prefix = f"{FOLDER}/provider={provider}"
    found = {info.path.removeprefix(f"{prefix}/date=").partition("/")[0] for info in storage.list(prefix)}
    return sorted(date.fromisoformat(day) for day in found)


def read_partition(storage: ArchiveStorage, spec: ProviderSpec, day: date) -> pa.Table:
    """Return one partition as a table of the provider's lake schema, sorted by creation; empty when it was never written.

    A file that an older version of the spec wrote is decoded again from its raw JSON.
    """
    for _ in range(_TRIES):
        try:
            return _read(storage, spec, day)
        except NotStoredError:
            continue  # a writer removed a file that had been replaced before: the listing has moved on
    return _read(storage, spec, day)


def write_partition(storage: ArchiveStorage, spec: ProviderSpec, day: date, rows: Iterable[Row]) -> pa.Table:
    """Write the whole partition, merged with what others have written meanwhile, and return it.

    Raises:
        StorageError: nothing was changed.
    """
    files = _files(storage, spec.name, day)
    current = _current(files)
    written = [rows_of(_decoded(spec, day, files[path])) for path in current]
    table = decoded(spec, day, reduce(lambda one, two: merge(spec, one, two.values()).rows, written, _by_id(rows)))
    metadata = {_REPLACES: msgspec.json.encode(sorted(files)), _FINGERPRINT: fingerprint(spec).encode()}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
    storage.create(f"{partition_folder(spec.name, day)}/{uuid4().hex}.parquet", sink.getvalue())
    for path in files.keys() - set(current):
        storage.delete(path)
    return table


def _read(storage: ArchiveStorage, spec: ProviderSpec, day: date) -> pa.Table:
    files = _files(storage, spec.name, day)
    tables = [_decoded(spec, day, files[path]) for path in _current(files)]
    if not tables:
        return lake_schema(spec).empty_table()
    if len(tables) == 1:
        return tables[0]
    return decoded(spec, day, reduce(lambda one, two: merge(spec, one, two.values()).rows, map(rows_of, tables)))


def _files(storage: ArchiveStorage, provider: str, day: date) -> dict[str, pq.ParquetFile]:
    listed = [info.path for info in storage.list(partition_folder(provider, day)) if info.path.endswith(".parquet")]
    return {path: pq.ParquetFile(io.BytesIO(storage.read(path))) for path in listed}


def _current(files: dict[str, pq.ParquetFile]) -> Sequence[str]:
    replaced: set[str] = set()
    for file in files.values():
        replaced.update(msgspec.json.decode((file.schema_arrow.metadata or {}).get(_REPLACES, b"[]"), type=list[str]))
    return sorted(files.keys() - replaced)


def _decoded(spec: ProviderSpec, day: date, file: pq.ParquetFile) -> pa.Table:
    table = file.read()
    if (file.schema_arrow.metadata or {}).get(_FINGERPRINT) == fingerprint(spec).encode():
        return table.replace_schema_metadata(None).cast(lake_schema(spec))
    return decoded(spec, day, rows_of(table))


def rows_of(table: pa.Table) -> dict[str, Row]:
    """Return the rows of a partition, undecoded, by execution id."""
    columns = ["execution_id", "created_at", RAW, FIRST_SEEN, LAST_SEEN]
    return _by_id(Row(*(row[name] for name in columns)) for row in table.select(columns).to_pylist())


def _by_id(rows: Iterable[Row]) -> dict[str, Row]:
    return {row.execution_id: row for row in rows}


def decoded(spec: ProviderSpec, day: date, rows: dict[str, Row]) -> pa.Table:
    """Return rows as the table of their partition, sorted by creation."""
    return decode(spec, sorted(rows.values(), key=lambda row: (row.created_at, row.execution_id)), day)
