"""A partition as it is before a write: its current files, opened, and read a row group at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import accumulate
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from assets.executions.decode import moments_of
from assets.executions.files import PartitionFile
from assets.executions.intake import Row
from assets.executions.schema import FIRST_SEEN, LAST_SEEN, RAW, TIMESTAMP, fingerprint, lake_schema
from assets.executions.spool import ROW_BYTES
from resources.errors import NotStoredError, StorageError
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage

FINGERPRINT = b"recording_archive.fingerprint"
_IDENTITY_SCHEMA = pa.schema(
    [("execution_id", pa.string()), (RAW, pa.string()), *((name, TIMESTAMP) for name in ("created_at", FIRST_SEEN, LAST_SEEN))]
)
# A file up to this size is fetched in one request; a larger one is read where it lies, a row group at a time.
_WHOLE_BYTES = 16 * 1024 * 1024
_BLOCK_BYTES = 4 * 1024 * 1024


class _Source:
    """One file, opened."""

    def __init__(self, storage: ArchiveStorage, file: PartitionFile) -> None:
        self._path = file.path
        self._stream: BinaryIO | None = None
        if file.size <= _WHOLE_BYTES:
            data: object = pa.BufferReader(storage.read(file.path))
        else:
            data = self._stream = storage.open(file.path, block_bytes=_BLOCK_BYTES)
        try:
            with self._reading():
                self._parquet = pq.ParquetFile(data)
                self._parquet.schema_arrow.empty_table().select(_IDENTITY_SCHEMA.names)
        except StorageError:
            self.close()
            raise
        meta = self._parquet.metadata
        self.starts = [0, *accumulate(meta.row_group(number).num_rows for number in range(meta.num_row_groups))]
        self._cached: tuple[int, pa.Table] | None = None

    @property
    def rows(self) -> int:
        return self.starts[-1]

    @property
    def raw_bytes(self) -> int:
        """What its rows take in memory, about."""
        meta = self._parquet.metadata
        raw = next(number for number in range(meta.num_columns) if meta.schema.column(number).path == RAW)
        groups = range(meta.num_row_groups)
        return self.rows * ROW_BYTES + sum(meta.row_group(number).column(raw).total_uncompressed_size for number in groups)

    def is_of(self, spec: ProviderSpec) -> bool:
        """Tell whether it was written by this version of the spec."""
        return (self._parquet.schema_arrow.metadata or {}).get(FINGERPRINT) == fingerprint(spec).encode()

    def group(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        with self._reading():
            return self._parquet.read_row_group(number, columns=None if columns is None else list(columns))

    def identities(self) -> Iterator[Row]:
        for number in range(len(self.starts) - 1):
            table = self.group(number, _IDENTITY_SCHEMA.names)
            with self._reading():
                table = table.select(_IDENTITY_SCHEMA.names).cast(_IDENTITY_SCHEMA)
                table.validate(full=True)
            ids, raws = (cast("list[str]", table[name].to_pylist()) for name in ("execution_id", RAW))
            times = (cast("list[datetime]", moments_of(table[name])) for name in ("created_at", FIRST_SEEN, LAST_SEEN))
            created, first, last = times
            yield from map(Row, ids, created, raws, first, last)

    def take(self, places: Sequence[int]) -> Iterator[pa.Table]:
        """Yield the rows at ``places``, in their order; fast where they ascend."""
        begin = 0
        while begin < len(places):
            number = bisect_right(self.starts, places[begin]) - 1
            low, high = self.starts[number], self.starts[number + 1]
            end = begin + 1
            while end < len(places) and low <= places[end] < high:
                end += 1
            if self._cached is None or self._cached[0] != number:
                self._cached = (number, self.group(number))
            yield self._cached[1].take(pa.array([place - low for place in places[begin:end]], pa.int64()))
            begin = end

    def close(self) -> None:
        self._cached = None
        if self._stream is not None:
            self._stream.close()

    @contextmanager
    def _reading(self) -> Generator[None]:
        try:
            yield
        except FileNotFoundError as error:
            msg = f"{self._path} was removed while it was read: try again"
            raise NotStoredError(msg) from error
        except (pa.ArrowException, OSError, KeyError) as error:
            msg = f"{self._path} is damaged ({type(error).__name__}): remove it, and read that day again"
            raise StorageError(msg) from None


class Former:
    """The current files of a partition, opened. Close it after use.

    Attributes:
        files: the current files, older generations first.
        settled: False where the next write should happen even without news: two runs have written at once, or the file is of an
            older version of the spec. Where it is True there is one file at most, which holds every row as it is.
        rows: how many rows all files have together.
        raw_bytes: what they take in memory, about.
    """

    def __init__(self, storage: ArchiveStorage, spec: ProviderSpec, files: Sequence[PartitionFile]) -> None:
        """Open the files.

        Raises:
            NotStoredError: one of them is gone.
            StorageError: the root failed, or a file is damaged.
        """
        self._schema = lake_schema(spec)
        self._sources: list[_Source] = []
        try:
            for file in files:
                self._sources.append(_Source(storage, file))
        except StorageError:
            self.close()
            raise
        self.files = tuple(files)
        self.settled = len(files) <= 1 and all(source.is_of(spec) for source in self._sources)
        self.rows = sum(source.rows for source in self._sources)
        self.raw_bytes = sum(source.raw_bytes for source in self._sources)

    def identities(self) -> list[Iterator[Row]]:
        """Return the rows of each file, undecoded."""
        return [source.identities() for source in self._sources]

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of a settled partition, a row group at a time."""
        names = self._schema.names if columns is None else list(columns)
        schema = pa.schema([self._schema.field(name) for name in names])
        for source in self._sources:
            for number in range(len(source.starts) - 1):
                yield source.group(number, names).replace_schema_metadata(None).select(names).cast(schema)

    def take(self, places: Sequence[int]) -> pa.Table:
        """Return the rows of a settled partition at ``places``, in their order."""
        parts = [part for source in self._sources for part in source.take(places)]
        return pa.concat_tables(parts).replace_schema_metadata(None).cast(self._schema) if parts else self._schema.empty_table()

    def close(self) -> None:
        """Close the files."""
        for source in self._sources:
            source.close()
