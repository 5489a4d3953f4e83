"""Compacted events: the event files of one day as one sorted file, which proves as much as they did.

Each row keeps the event file that it came from, its place there and the digest that its writer gave it. The file itself says of
each event file what that said of itself: path, SHA-256, its writer's chain. So a changed row is named, a missing one is counted,
and the chain goes on through files that are gone. Only event files that are what their writers wrote come in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from assets.recordings.events import SCHEMA
from assets.recordings.ledger.chain import ChainLink, EventFile, sha256_of
from assets.recordings.ledger.digests import DIGEST_BYTES, digests_of, one_dictionary
from assets.recordings.ledger.files import to_bytes
from resources.arrow import compute as pc

METADATA_KEY = b"recording_archive.history"
_ORIGIN = ("file", "row", "digest")
HISTORY_SCHEMA = pa.schema(
    [
        *SCHEMA,
        pa.field("file", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("digest", pa.binary(DIGEST_BYTES)),
    ]
)
"""The columns of compacted events: those of an event, and where each row comes from."""
_SORTED_BY = ("execution_id", "leg", "seq", "at", "event_id")


class Source(msgspec.Struct, frozen=True):
    """An event file whose rows were taken in.

    Attributes:
        path: where it lay, relative to the archive root.
        sha256: of its bytes.
        writer, number, previous, previous_sha256: of its chain, see :class:`ChainLink`.
        rows: how many.
        sum: digest of the digests of its rows, in their order.
        columns: that it had; a later version may have more.
    """

    path: str
    sha256: str
    writer: str
    number: int
    previous: str
    previous_sha256: str
    rows: int
    sum: str
    columns: int


class _Head(msgspec.Struct, frozen=True):
    """What a file of compacted events says of itself; ``shapes`` are the lists of columns that its sources had."""

    path: str
    shapes: tuple[tuple[str, ...], ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class History:
    """A file of compacted events as it lies in the root.

    Attributes:
        path: relative to the archive root.
        sha256: of its bytes.
        sources: the event files that it stands for, by path, as if they still lay there.
        said: what it says of each of them.
        faults: what is wrong with it, in words; nothing where it is what was written.
        table: its rows; None where it is no Parquet file.
    """

    path: str
    sha256: str
    sources: Mapping[str, EventFile]
    said: Mapping[str, Source]
    faults: tuple[str, ...] = ()
    table: pa.Table | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is what a compaction wrote, as far as it can tell by itself."""
        return not self.faults


def encode(path: str, former: Sequence[History], files: Sequence[EventFile]) -> tuple[bytes, int]:
    """Return a file of compacted events for ``path``, and how many rows it has.

    Args:
        path: where it will lie.
        former: files of compacted events that it takes the place of; all of them their own.
        files: event files that are not in those; all of them their own.
    """
    sources: dict[str, Source] = {}
    shapes: dict[tuple[str, ...], int] = {}
    tables: list[pa.Table] = [HISTORY_SCHEMA.empty_table()]
    for history in former:
        assert history.table is not None  # noqa: S101 -- it is its own
        fresh = [each for each in history.said if each not in sources]
        for name in fresh:
            said, file = history.said[name], history.sources[name]
            sources[name] = _numbered(said, file, shapes)
        rows = history.table
        tables.append(
            rows if len(fresh) == len(history.said) else rows.filter(pc.is_in(rows["file"], pa.array(fresh, pa.string())))
        )
    for file in files:
        assert file.link is not None and file.table is not None  # noqa: S101, PT018 -- it is its own
        if file.path not in sources:
            sources[file.path] = _numbered(_said_of(file), file, shapes)
            tables.append(_with_origin(file))
    table = pa.concat_tables(tables)
    table = table.sort_by([(name, "ascending") for name in _SORTED_BY])
    head = _Head(path, tuple(shapes), tuple(sources[name] for name in sorted(sources)))
    return to_bytes(table.replace_schema_metadata({METADATA_KEY: msgspec.json.encode(head)})), table.num_rows


def read_history(path: str, data: bytes) -> History:
    """Take a file of compacted events apart; never raises: what is wrong with it is said in :attr:`History.faults`."""
    digest = sha256_of(data)
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
        head = msgspec.json.decode((table.schema.metadata or {}).get(METADATA_KEY, b""), type=_Head)
        said = {source.path: source for source in head.sources}
        sources = {source.path: file for source, file in _taken_apart(table, head)}
        rows = _of_schema(table)
    except msgspec.MsgspecError:
        return History(path, digest, {}, {}, ("these compacted events were written by somebody else, or again by another tool",))
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError):
        return History(path, digest, {}, {}, ("these compacted events were damaged: the file cannot be read any more",))
    faults = [f"these compacted events are a copy of {head.path}"] if head.path != path else []
    for name, file in sorted(sources.items()):
        faults += _faults_of(said[name], file)
    strangers = len(table) - sum(len(file.digests) for file in sources.values())
    if strangers:
        faults.append(f"{strangers} of these compacted events come from no event file")
    return History(path, digest, sources, said, tuple(faults), rows)


def _faults_of(said: Source, file: EventFile) -> list[str]:
    link = file.link
    assert link is not None and file.table is not None  # noqa: S101, PT018 -- made from the rows
    words: list[str] = []
    for row, (was, now) in enumerate(zip(link.rows, file.digests, strict=True)):
        if was != now:
            event = file.table.slice(row, 1).to_pylist()[0]
            whose = "/".join(str(event.get(name)) for name in ("provider", "execution_id", "leg"))
            words.append(
                f"these compacted events were edited: event {event.get('event_id')}, number {event.get('seq')} of {whose}, "
                f"is not as written in {file.path}"
            )
    if len(link.rows) != said.rows:
        words.append(f"these compacted events were edited: {said.path} had {said.rows} rows, and {len(link.rows)} are there")
    elif _sum(link.rows) != said.sum and not words:
        words.append(f"these compacted events were edited: the rows of {said.path} are not those that were written")
    return words


def _taken_apart(table: pa.Table, head: _Head) -> list[tuple[Source, EventFile]]:
    """Return each event file as it was: its rows in their order, in the columns that it had."""
    ordered = table.sort_by([("file", "ascending"), ("row", "ascending")])
    names = one_dictionary(ordered["file"])
    counts = {str(each["values"]): int(each["counts"]) for each in pc.value_counts(ordered["file"]).to_pylist()}
    starts: dict[str, int] = {}
    start = 0
    for name in cast("list[str]", names.dictionary.to_pylist()):
        starts[name] = start
        start += counts[name]
    found: list[tuple[Source, EventFile]] = []
    for shape_number, shape in enumerate(head.shapes):
        of_shape = [source for source in head.sources if source.columns == shape_number]
        digests = digests_of(ordered.select(shape)) if of_shape else []
        for source in of_shape:
            first, count = starts.get(source.path, 0), counts.get(source.path, 0)
            said = tuple(each.hex() for each in cast("list[bytes]", ordered["digest"].slice(first, count).to_pylist()))
            link = ChainLink(source.writer, source.number, source.path, source.previous, source.previous_sha256, said)
            rows = ordered.slice(first, count).select(shape)
            found.append((source, EventFile(source.path, source.sha256, link, rows, tuple(digests[first : first + count]))))
    return found


def _said_of(file: EventFile) -> Source:
    link = file.link
    assert link is not None  # noqa: S101 -- it is its own
    return Source(
        file.path, file.sha256, link.writer, link.number, link.previous, link.previous_sha256, len(link.rows), _sum(link.rows), 0
    )


def _numbered(said: Source, file: EventFile, shapes: dict[tuple[str, ...], int]) -> Source:
    """Return what is said of a source with the number of its columns' list in the new file."""
    assert file.table is not None  # noqa: S101 -- it is its own
    return msgspec.structs.replace(said, columns=shapes.setdefault(tuple(file.table.column_names), len(shapes)))


def _with_origin(file: EventFile) -> pa.Table:
    assert file.table is not None  # noqa: S101 -- it is its own
    count = file.table.num_rows
    return (
        _of_columns(file.table, SCHEMA)
        .append_column("file", pa.repeat(pa.scalar(file.path), count))
        .append_column("row", pa.array(range(count), pa.int32()))
        .append_column("digest", pa.array([bytes.fromhex(each) for each in file.digests], pa.binary(DIGEST_BYTES)))
        .cast(HISTORY_SCHEMA)
    )


def _of_schema(table: pa.Table) -> pa.Table:
    return _of_columns(table, HISTORY_SCHEMA)


def _of_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table in these columns; those that an older version did not write are null."""
    present = set(table.column_names)
    parts = [
        table[field.name].cast(field.type) if field.name in present else pa.nulls(table.num_rows, field.type) for field in schema
    ]
    return pa.Table.from_arrays(parts, schema=schema)


def _sum(digests: Sequence[str]) -> str:
    return hashlib.blake2b("".join(digests).encode(), digest_size=DIGEST_BYTES).hexdigest()
