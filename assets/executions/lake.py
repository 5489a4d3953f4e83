"""The executions lake: what a partition holds, and what a read makes of it. See :mod:`assets.executions.files` for its files.

A partition may hold millions of rows, so nothing here holds one whole but :func:`read_partition`: it is read and written a row
group at a time, and merged in slices.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import date
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from assets.executions.decode import Decoder, moments
from assets.executions.files import FOLDER, current, files_below, next_path, partition_folder, provider_folder
from assets.executions.former import FINGERPRINT, Former
from assets.executions.intake import Entry, Row
from assets.executions.schema import FIRST_SEEN, LAST_SEEN, RAW, TIMESTAMP, fingerprint, lake_schema
from assets.executions.sorting import SortedDay
from assets.executions.spool import ROW_BYTES
from resources.errors import NotStoredError
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage

__all__ = ["FOLDER", "Update", "former", "partition_files", "partition_folder", "partitions", "read_partition", "write_partition"]

ROW_GROUP_ROWS = 20_000
ROW_GROUP_BYTES = 32 * 1024 * 1024
"""A row group ends with the row that fills either of them."""
_MEMORY_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 4 * 1024 * 1024
_TRIES = 5


def partitions(storage: ArchiveStorage, provider: str) -> list[date]:
    """Return the days that have executions, ascending."""
    return sorted(partition_files(storage, provider))


def partition_files(storage: ArchiveStorage, provider: str) -> dict[date, tuple[str, ...]]:
    """Return the current files of each day, from one listing; a day's files change whenever its rows do."""
    days = files_below(storage, provider_folder(provider))
    return {day: tuple(file.path for file in current(files)) for day, files in days.items()}


def former(storage: ArchiveStorage, spec: ProviderSpec, day: date) -> Former:
    """Return a partition as it is now, opened.

    Raises:
        StorageError: the root failed, or a file is damaged.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(NotStoredError):  # a file that was replaced long ago went away: list again
            return _former(storage, spec, day)
    return _former(storage, spec, day)


def _former(storage: ArchiveStorage, spec: ProviderSpec, day: date) -> Former:
    return Former(storage, spec, current(files_below(storage, partition_folder(spec.name, day)).get(day, ())))


def read_partition(storage: ArchiveStorage, spec: ProviderSpec, day: date) -> pa.Table:
    """Return one partition as a table of the provider's lake schema, sorted by creation; empty when it was never written.

    A file that an older version of the spec wrote is decoded again from its raw JSON. For partitions that fit into memory.

    Raises:
        StorageError: the root failed, or a file is damaged.
    """
    with updating(storage, spec, day) as update:
        return pa.concat_tables([lake_schema(spec).empty_table(), *update.tables()])


def write_partition(
    storage: ArchiveStorage, spec: ProviderSpec, day: date, rows: Sequence[Row], before: Former | None = None
) -> pa.Table:
    """Merge ``rows`` into the partition, write it and return it; ``before`` is its former state, the present one by default.

    Raises:
        StorageError: nothing was changed.
    """
    size = sum(len(row.raw) + ROW_BYTES for row in rows)
    with updating(storage, spec, day, rows, size, before=before) as update:
        tables = list(update.tables())
        update.publish(iter(tables))
    return pa.concat_tables([lake_schema(spec).empty_table(), *tables])


class Update:
    """A read of one day, merged with the day's past.

    Attributes:
        rows, new, changed, kept: as in :class:`SortedDay`.
        news: whether the partition should be written; False where its one file says the same already.
    """

    def __init__(self, storage: ArchiveStorage, before: Former, merged: SortedDay, day: date, decoder: Decoder) -> None:
        self.rows, self.new, self.changed, self.kept = merged.rows, merged.new, merged.changed, merged.kept
        self.news = bool(merged.new or merged.changed or not before.settled)
        self._storage = storage
        self._before = before
        self._merged = merged
        self._day = day
        self._decoder = decoder

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the partition as it should be, a row group at a time, sorted by creation; once only.

        Args:
            columns: which; others are not read where they need not be. All by default.
        """
        if not self.news:
            yield from self._before.tables(columns)
            return
        for block in _blocks(self._merged):
            table = self._assembled(block)
            yield table if columns is None else table.select(list(columns))

    def publish(self, tables: Iterator[pa.Table]) -> int:
        """Write the partition in place of its former files, and return the bytes of the new one.

        Args:
            tables: all that :meth:`tables` yields.

        Raises:
            StorageError: nothing was changed.
        """
        with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as file:
            write_parquet(file, self._decoder.spec, tables)
            file.seek(0)
            spec = self._decoder.spec
            path = next_path(spec.name, self._day, self._before.files, fingerprint(spec))
            return self._storage.create_from(path, iter(lambda: file.read(_CHUNK_BYTES), b""))

    def _assembled(self, block: Sequence[Entry]) -> pa.Table:
        """Return rows of the partition; only those that the former file does not hold as they are, are decoded."""
        fresh = [entry.row for entry in block if entry.place < 0]
        table = self._decoder.decode(fresh, self._day)
        if len(fresh) == len(block):
            return table
        held = self._before.take([entry.place for entry in block if entry.place >= 0])
        old, new = iter(range(held.num_rows)), iter(range(held.num_rows, len(block)))
        places = [next(old if entry.place >= 0 else new) for entry in block]
        both = pa.concat_tables([held, table]).take(pa.array(places, pa.int64()))
        for name, seen in (
            (FIRST_SEEN, moments([entry.first_seen_at for entry in block])),
            (LAST_SEEN, moments([entry.last_seen_at for entry in block])),
        ):
            both = both.set_column(both.schema.get_field_index(name), name, seen)
        return both.cast(lake_schema(self._decoder.spec))


@contextlib.contextmanager
def updating(
    storage: ArchiveStorage,
    spec: ProviderSpec,
    day: date,
    rows: Iterable[Row] = (),
    size: int = 0,
    *,
    decoder: Decoder | None = None,
    before: Former | None = None,
) -> Generator[Update]:
    """Merge a read of one day with what is known of it.

    Args:
        storage: the archive root.
        spec: the provider.
        day: the partition.
        rows: what was read.
        size: what these take in memory, about, in bytes; see :meth:`Spool.size`.
        decoder: the provider's, when there is one.
        before: the former state; the present one by default.

    Raises:
        StorageError: the root failed, or a file is damaged.
    """
    with contextlib.ExitStack() as stack:
        decoder = decoder or stack.enter_context(Decoder(spec))
        known = before or former(storage, spec, day)
        stack.callback(known.close)
        yield Update(storage, known, stack.enter_context(SortedDay(spec, known, rows, size)), day, decoder)


def write_parquet(file: IO[bytes], spec: ProviderSpec, tables: Iterable[pa.Table]) -> int:
    """Write tables of the lake's schema as a partition's file, each as a row group; return how many rows there are."""
    schema = lake_schema(spec).with_metadata({FINGERPRINT: fingerprint(spec).encode()})
    # No two rows have the same raw JSON, and hardly two the same time: a dictionary of them would be made and thrown away. Times
    # lie close together instead (a file of 20,000 rows of the benchmark is a quarter smaller by it; measured).
    times = [entry.name for entry in schema if entry.type == TIMESTAMP]
    dictionary = [name for name in schema.names if name not in (RAW, *times)]
    rows = 0
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=cast("bool", dictionary),
        column_encoding=dict.fromkeys(times, "DELTA_BINARY_PACKED"),
    ) as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
                rows += table.num_rows
    return rows


def _blocks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    block: list[Entry] = []
    size = 0
    for entry in entries:
        block.append(entry)
        size += entry.size
        if len(block) >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block
