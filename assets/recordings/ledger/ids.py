"""The id index of one provider: on which days an execution is, without a look at the days.

Segments are immutable, sorted Parquet files of pairs (``execution_id``, ``date``). News go into a small one of their own;
when :data:`_FAN` have one size they are merged into one, as in a log-structured merge tree. So a pair is written again a few
times in its life, there are few segments however many pairs, and a look-up reads their footers and one row group of each.

Nothing is changed in place and nothing is deleted here: who holds the former segments goes on reading them.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from typing import Any, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assets.recordings import names
from assets.recordings.ledger.files import damaged
from resources.storage import ArchiveStorage

PAIRS = pa.schema([("execution_id", pa.string()), ("date", pa.date32())])
"""The columns of a segment and of what is added to the index."""

SEGMENT_ROWS = 4_000_000
"""No merge makes a segment of more rows. One of this size has about 150 MB for random ids."""
_FAN = 4
_SMALLEST_ROWS = 16_384
_ROW_GROUP_ROWS = 8_192
_READERS = 8
# LZ4: a look-up reads one row group of each segment, and unpacks it in half the time that zstd takes.
_WRITING: dict[str, Any] = {"compression": "lz4", "use_dictionary": ["date"], "write_statistics": ["execution_id"]}
_FOOTER_BYTES = 256 * 1024


class Segment(msgspec.Struct, frozen=True):
    """One file of an index: its path, relative to the archive root, and its rows."""

    path: str
    rows: int


def grown(
    storage: ArchiveStorage, provider: str, generation: int, segments: Sequence[Segment], pairs: pa.Table
) -> tuple[Segment, ...]:
    """Return the segments of an index that also knows ``pairs``; those that were merged are not among them, and stay on disk.

    Args:
        storage: the archive root.
        provider: whose index it is.
        generation: of the snapshot that will name the segments; for their names alone.
        segments: the index as it was.
        pairs: of :data:`PAIRS`, in any order, also repeated or known already.

    Raises:
        StorageError: the root failed, or a segment is damaged; the former segments are as they were.
    """
    if not pairs.num_rows:
        return tuple(segments)
    folder = f"{names.LEDGER}/provider={provider}/ids"
    added = _write(
        storage, f"{folder}/{generation:010d}-{uuid.uuid4().hex}.parquet", [_ordered(pairs.select(PAIRS.names).cast(PAIRS))]
    )
    grown_to = [*segments, added]
    while mergeable := _mergeable(grown_to):
        merged = _write(storage, f"{folder}/{generation:010d}-{uuid.uuid4().hex}.parquet", _merged(storage, mergeable))
        grown_to = [segment for segment in grown_to if segment not in mergeable]
        grown_to.append(merged)
    return tuple(sorted(grown_to, key=lambda segment: (-segment.rows, segment.path)))


def days_of(storage: ArchiveStorage, segments: Iterable[Segment], execution_id: str) -> list[date]:
    """Return the days on which the index has an execution of this id, ascending; usually one, and none for an unknown id.

    Raises:
        NotStoredError: a segment is gone.
        StorageError: the root failed, or a segment is damaged.
    """
    try:
        execution_id.encode()
    except UnicodeEncodeError:  # no file holds it
        return []

    def days_in(segment: Segment) -> list[date]:
        with ExitStack() as opened:
            file = _opened(storage, segment, opened)
            try:
                return list(_dates(file, execution_id))
            except (pa.ArrowException, OSError) as error:
                raise damaged(storage, segment.path, error) from None

    if storage.local_path() is not None:  # where nothing is waited for, threads cost more than they bring
        return sorted({day for segment in segments for day in days_in(segment)})
    with ThreadPoolExecutor(_READERS) as readers:
        return sorted({day for days in readers.map(days_in, segments) for day in days})


def _dates(file: pq.ParquetFile, execution_id: str) -> Iterator[date]:
    footer = file.metadata

    def least(group: int) -> str:
        statistics = footer.row_group(group).column(0).statistics
        if statistics is None or not statistics.has_min_max:  # ids too long for a footer
            return str(file.read_row_group(group, columns=["execution_id"])["execution_id"][0].as_py())
        return str(statistics.min)

    low, high = 0, footer.num_row_groups  # the first row group that begins with the id, or with a greater one
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if least(middle) < execution_id else (low, middle)
    group = max(low - 1, 0)
    while group < footer.num_row_groups and least(group) <= execution_id:
        rows = file.read_row_group(group, use_threads=False)
        yield from cast("list[date]", rows.filter(pc.field("execution_id") == pa.scalar(execution_id))["date"].to_pylist())
        group += 1


def _mergeable(segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments to merge now: as many of one size as fit into one, the smallest first; none where there are few."""
    sizes: dict[int, list[Segment]] = {}
    for segment in sorted(segments, key=lambda each: (each.rows, each.path)):
        sizes.setdefault(_size(segment.rows), []).append(segment)
    for alike in sizes.values():
        chosen: list[Segment] = []
        for segment in alike:
            if sum(each.rows for each in chosen) + segment.rows <= SEGMENT_ROWS:
                chosen.append(segment)
        if len(alike) >= _FAN and len(chosen) > 1:
            return chosen
    return []


def _size(rows: int) -> int:
    size, limit = 0, _SMALLEST_ROWS
    while rows >= limit:
        size, limit = size + 1, limit * _FAN
    return size


def _merged(storage: ArchiveStorage, segments: Sequence[Segment]) -> Iterator[pa.Table]:
    """Yield the pairs of sorted segments in order, a row group of each in memory at a time."""
    with ExitStack() as opened:
        sources = [_row_groups(storage, segment, _opened(storage, segment, opened)) for segment in segments]
        heads = [next(source, None) for source in sources]
        while any(head is not None for head in heads):
            # Up to the least of the last ids, nothing can come behind what is there.
            border = min(str(head["execution_id"][-1].as_py()) for head in heads if head is not None)
            ready: list[pa.Table] = []
            for number, head in enumerate(heads):
                if head is None:
                    continue
                count = head.filter(pc.field("execution_id") <= pa.scalar(border)).num_rows
                ready.append(head.slice(0, count))
                heads[number] = head.slice(count) if count < head.num_rows else next(sources[number], None)
            yield _ordered(pa.concat_tables(ready))


def _row_groups(storage: ArchiveStorage, segment: Segment, file: pq.ParquetFile) -> Iterator[pa.Table]:
    for group in range(file.metadata.num_row_groups):
        try:
            pairs = file.read_row_group(group, use_threads=False).cast(PAIRS)
        except (pa.ArrowException, OSError) as error:
            raise damaged(storage, segment.path, error) from None
        yield pairs


def _ordered(pairs: pa.Table) -> pa.Table:
    return (
        pairs.group_by(PAIRS.names, use_threads=False)
        .aggregate([])
        .select(PAIRS.names)
        .sort_by([(name, "ascending") for name in PAIRS.names])
    )


def _opened(storage: ArchiveStorage, segment: Segment, stack: ExitStack) -> pq.ParquetFile:
    source = stack.enter_context(storage.open(segment.path, block_bytes=_FOOTER_BYTES))
    try:
        return stack.enter_context(pq.ParquetFile(source))
    except (pa.ArrowException, OSError) as error:
        raise damaged(storage, segment.path, error) from None


def _write(storage: ArchiveStorage, path: str, tables: Iterable[pa.Table]) -> Segment:
    rows = 0

    def encoded() -> Iterator[bytes]:
        nonlocal rows
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, PAIRS, **_WRITING) as writer:
            for table in _regrouped(tables):
                rows += table.num_rows
                writer.write_table(table, row_group_size=_ROW_GROUP_ROWS)
                yield sink.getvalue()
                sink.seek(0)
                sink.truncate()
        yield sink.getvalue()

    storage.create_from(path, encoded())
    return Segment(path, rows)


def _regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in tables of a row group each; the last may be smaller."""
    rest = PAIRS.empty_table()
    for table in tables:
        rest = pa.concat_tables([rest, table])
        while rest.num_rows >= _ROW_GROUP_ROWS:
            yield rest.slice(0, _ROW_GROUP_ROWS)
            rest = rest.slice(_ROW_GROUP_ROWS)
    if rest.num_rows:
        yield rest
