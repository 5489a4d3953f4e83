"""Strict JSON rows -> the typed table of a provider's lake, whatever the provider changed since its spec was written.

Every column but the identity, the partition and the two times of seeing is a function of ``_raw`` alone. So a row reads the
same whichever rows stand beside it, and a partition that was written under an older spec is decoded again when it is read.

The clean path is vectorised: pyarrow.json types all typed columns of many rows at once by the explicit schema (DuckDB and an
inferred schema turn 1.5 into 2 silently), and msgspec gives the fields that are kept as JSON. Where that fails, msgspec tells
row by row which fields are not of their type; those go through :mod:`assets.executions.cells`, and the rest is typed at once
again. Where that fails too (a text that is no time), each column is halved until the offending values stand alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any, Self, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from assets.executions.canonical import Canon
from assets.executions.cells import Cell, cell, parse_lines
from assets.executions.intake import REPAIR_KEYS, Fields, Row, join, split
from assets.executions.schema import BAD, EXTRA, FIRST_SEEN, LAST_SEEN, RAW, TIMESTAMP, lake_column, lake_schema
from assets.executions.shape import Shape
from resources.providers.protocol import Field, ProviderSpec

# Bounds the memory of one pass, and keeps it near the processor (measured in an ingest: a fifth slower by 256 KiB, some slower by
# 4 MiB, a tenth by 16 MiB).
BLOCK_BYTES = 2 * 1024 * 1024
# The first block of a decoder is a small one: most of what drifts is learnt from it, and learning takes another pass or two.
_FIRST_BLOCK_BYTES = BLOCK_BYTES // 8
# Below this many rows, single values (1.5 us each) are cheaper than two more parses of half the rows (60 us each; measured).
_SMALL = 64

_ENCODER = msgspec.json.Encoder()
_VALUE = "value"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Python's datetime, and so every Python reader of the lake, ends here. Arrow would accept the year 0 and the year 32767.
_EARLIEST = pa.scalar(datetime(1, 1, 1, tzinfo=UTC), TIMESTAMP)
_LATEST = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), TIMESTAMP)


class _Block:
    """The rows of one pass, split, and what did not fit.

    A row's fields are held only where they are asked for: all of them take more memory than its text.

    Attributes:
        texts: the rows' JSON.
        raw: the same as a column.
        present: the names of the known fields that any row has.
        extra: row number -> the fields that are not known.
        bad: row number -> JSON key -> the original value that did not fit.
    """

    def __init__(self, texts: Sequence[str], known: AbstractSet[str], kept: Iterable[str]) -> None:
        """Split ``texts``; the values of the fields ``kept`` will be asked for."""
        self.texts = texts
        self.raw = pa.array(texts, pa.string())
        self.extra: dict[int, Fields] = {}
        self.bad: dict[int, dict[str, object]] = {}
        self._kept: dict[str, list[msgspec.Raw | None]] = {name: [] for name in kept}
        self.present = self._split(known)

    def _split(self, known: AbstractSet[str]) -> frozenset[str]:
        present: set[str] = set()
        kept = list(self._kept.items())
        for number, text in enumerate(self.texts):
            fields = split(text)
            if not present.issuperset(fields):
                present |= fields.keys() & known
                if unknown := {name: value for name, value in fields.items() if name not in known}:
                    self.extra[number] = unknown
            for name, values in kept:
                values.append(fields.get(name))
        return frozenset(present)

    def note(self, row: int, name: str, value: object) -> None:
        """Keep a value that did not fit."""
        self.bad.setdefault(row, {})[name] = value

    def values(self, name: str) -> Sequence[msgspec.Raw | None]:
        """Return the JSON of one field that is present or kept, row by row; None where a row does not have it."""
        if name not in self._kept:  # something has only now turned out to drift: the others are looked at too
            rows = [split(text) for text in self.texts]
            for other in self.present - self._kept.keys():
                self._kept[other] = [fields.get(other) for fields in rows]
        return self._kept[name]


class Decoder:
    """Types the rows of one provider, block by block; what one block taught about drift makes the next one cheaper.

    Attributes:
        spec: the provider.
    """

    def __init__(self, spec: ProviderSpec) -> None:
        self.spec = spec
        self._schema = lake_schema(spec)
        self._known = frozenset(entry.name for entry in spec.fields)
        self._json = tuple(entry for entry in spec.fields if entry.json)
        self._typed = tuple(entry for entry in spec.fields if not entry.json)
        self._shape = Shape(self._typed)
        self._canon = Canon(spec)
        self._drifting: set[str] = set()
        self._block_bytes = _FIRST_BLOCK_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._canon.close()

    def decode(self, rows: Sequence[Row], day: date) -> pa.Table:
        """Return ``rows`` as a table of :func:`~assets.executions.schema.lake_schema`, in the same order, one row each.

        Args:
            rows: strict JSON objects with their identity (see :mod:`assets.executions.intake`).
            day: the partition that they belong to.
        """
        if not rows:
            return self._schema.empty_table()
        bad: dict[int, dict[str, object]] = {}
        typed = pa.concat_tables([self._typed_block(block, first, bad) for first, block in self._blocks(rows)])
        # Of all rows at once: a query takes DuckDB 4 ms whatever it is about, and a block's rows take 2 (measured).
        common, faults = self._canon.columns(typed.drop_columns([EXTRA]))
        for row, fault in faults.items():
            bad.setdefault(row, {})["_canonical"] = fault
        count = len(rows)
        # The identity comes from the client that read it: it holds even where the JSON's own fields did not fit.
        columns: dict[str, pa.Array | pa.ChunkedArray] = common | {
            "provider": pa.repeat(pa.scalar(self.spec.name), count),
            "date": pa.repeat(pa.scalar(day, pa.date32()), count),
            "execution_id": pa.array([row.execution_id for row in rows], pa.string()),
            "created_at": moments([row.created_at for row in rows]),
            FIRST_SEEN: moments([row.first_seen_at for row in rows]),
            LAST_SEEN: moments([row.last_seen_at for row in rows]),
            RAW: typed[RAW],
            EXTRA: typed[EXTRA],
            BAD: _objects(bad, count),
        }
        columns |= {lake_column(entry): typed[entry.column] for entry in self.spec.fields}
        return pa.table([columns[name] for name in self._schema.names], schema=self._schema)

    def _blocks(self, rows: Sequence[Row]) -> Iterator[tuple[int, Sequence[Row]]]:
        """Yield rows in blocks of some size in bytes, each with the number of its first row."""
        first = size = 0
        for number, row in enumerate(rows, start=1):
            size += len(row.raw)
            if size >= self._block_bytes or number == len(rows):
                yield first, rows[first:number]
                first, size = number, 0
                self._block_bytes = BLOCK_BYTES

    def _typed_block(self, rows: Sequence[Row], first: int, bad: dict[int, dict[str, object]]) -> pa.Table:
        """Return the provider's own columns of some rows, their JSON, and what is unknown in it; ``first`` numbers them."""
        kept = {entry.name for entry in self._json} | self._drifting
        block = _Block([row.raw for row in rows], self._known, kept)
        own, extra = self._own_columns(block), _extra(block)
        bad.update((first + number, fields) for number, fields in block.bad.items())
        return pa.table({entry.column: own[entry.column] for entry in self.spec.fields} | {RAW: block.raw, EXTRA: extra})

    def _own_columns(self, block: _Block) -> dict[str, pa.Array]:
        columns = {entry.column: _json_column(entry, block) for entry in self._json}
        absent = (entry for entry in self._typed if entry.name not in block.present)
        columns |= {entry.column: _nulls(len(block.texts), entry.type) for entry in absent}
        typed = [entry for entry in self._typed if entry.name in block.present]
        return columns | self._steady_columns(typed, block) | self._drifting_columns(typed, block)

    def _steady_columns(self, typed: Sequence[Field], block: _Block) -> dict[str, pa.Array]:
        """Type all columns at once but those that drift; a field that turns out not to fit is one of these from then on."""
        text = b"".join((cast("pa.Buffer", block.raw.buffers()[2]), b"\n"))  # the parser needs nothing between two objects
        for learn in (self._learn_from_json, self._learn_from_arrow):
            if (columns := _parse_rows(self._steady(typed), text, len(block.texts))) is not None:
                return columns
            learn(typed, block)
        if (columns := _parse_rows(self._steady(typed), text, len(block.texts))) is not None:
            return columns
        self._drifting.update(entry.name for entry in typed)
        return {}

    def _steady(self, typed: Sequence[Field]) -> list[Field]:
        return [entry for entry in typed if entry.name not in self._drifting]

    def _learn_from_json(self, _: Sequence[Field], block: _Block) -> None:
        for text in block.texts:
            if not self._shape.fits(text):
                self._drifting.update(self._shape.misfits(split(text)))

    def _learn_from_arrow(self, typed: Sequence[Field], block: _Block) -> None:
        self._drifting.update(
            entry.name for entry in self._steady(typed) if _parse_values(entry, block.values(entry.name)) is None
        )

    def _drifting_columns(self, typed: Sequence[Field], block: _Block) -> dict[str, pa.Array]:
        return {entry.column: self._mended(entry, block) for entry in typed if entry.name in self._drifting}

    def _mended(self, entry: Field, block: _Block) -> pa.Array:
        """Type one column whose values are not all of its type; what does not fit becomes null and is noted."""
        values = block.values(entry.name)
        cells = {
            number: cell(bytes(value), entry.type)
            for number, value in enumerate(values)
            if value is not None and not self._shape.fits_field(entry.name, value)
        }
        column = _parse_values(entry, [None if number in cells else value for number, value in enumerate(values)])
        if column is None:
            return _halved(entry, block)
        if not cells:
            self._drifting.discard(entry.name)
        for number, found in cells.items():
            if not found.fits:
                block.note(number, entry.name, values[number])
        return _patched(column, cells)


def decode(spec: ProviderSpec, rows: Sequence[Row], day: date) -> pa.Table:
    """Return ``rows`` as a table of the provider's lake schema; see :meth:`Decoder.decode`."""
    with Decoder(spec) as decoder:
        return decoder.decode(rows, day)


def moments(values: Sequence[datetime]) -> pa.Array:
    """Return aware datetimes as a column. By way of integers: Arrow takes ten times as long over datetimes with a zone."""
    if values and all(value is values[0] for value in values):  # the times of seeing, of a first read
        return pa.repeat(pa.scalar(values[0], TIMESTAMP), len(values))
    return pa.array([(value - EPOCH) // _MICROSECOND for value in values], pa.int64()).cast(TIMESTAMP)


def moments_of(column: pa.ChunkedArray) -> list[datetime | None]:
    """Return the values of a column of times; the other way of :func:`moments`."""
    numbers = column.cast(TIMESTAMP).cast(pa.int64()).to_pylist()
    return [None if number is None else EPOCH + timedelta(microseconds=number) for number in numbers]


def _extra(block: _Block) -> pa.Array:
    for number, fields in block.extra.items():
        for name in REPAIR_KEYS & fields.keys():
            block.note(number, name, fields[name])
    return _objects(block.extra, len(block.texts))


def _objects(values: Mapping[int, Mapping[str, object]], count: int) -> pa.Array:
    """Return a column of ``count`` JSON objects: those of some rows, by their number, and NULL for the others."""
    if not values:
        return pa.nulls(count, pa.string())
    texts: list[str | None] = [None] * count
    for number, value in values.items():
        texts[number] = join(value)
    return pa.array(texts, pa.string())


def _nulls(count: int, kind: pa.DataType) -> pa.Array:
    return pa.nulls(count, cast("Any", kind))  # pyarrow's stubs know a few types only


def _json_column(entry: Field, block: _Block) -> pa.Array:
    name = entry.name
    if name not in block.present:
        return pa.nulls(len(block.texts), pa.string())
    texts = [None if value is None else str(value, "utf-8") for value in block.values(name)]
    return pa.array([None if text == "null" else text for text in texts], pa.string())


def _parse_rows(typed: Sequence[Field], lines: bytes, count: int) -> dict[str, pa.Array] | None:
    """Type the columns ``typed`` of ``count`` JSON objects; None when any value of any row does not fit."""
    if not typed:
        return {}
    try:
        table = parse_lines(lines, pa.schema([(entry.name, entry.type) for entry in typed]))
    except pa.ArrowInvalid:
        return None
    if table.num_rows != count:
        return None
    columns = {entry.column: table[entry.name].combine_chunks() for entry in typed}
    return columns if all(map(_readable, columns.values())) else None


def _patched(column: pa.Array, cells: Mapping[int, Cell]) -> pa.Array:
    """Return a column in which some rows, null until now, have their cells' values."""
    found = {number: item.value for number, item in cells.items() if item.value is not None}
    if not found:
        return column
    places = list(range(len(column)))
    for place, number in enumerate(found, start=len(column)):
        places[number] = place
    return pa.concat_arrays([column, pa.array(list(found.values()), column.type)]).take(pa.array(places, pa.int64()))


def _readable(column: pa.Array) -> bool:
    if column.type != TIMESTAMP or column.null_count == len(column):
        return True
    bounds = pc.min_max(column)
    return bool(pc.and_(pc.greater_equal(bounds["min"], _EARLIEST), pc.less_equal(bounds["max"], _LATEST)).as_py())


def _halved(entry: Field, block: _Block) -> pa.Array:
    """Type one column, halving it where it does not parse; what does not fit becomes null and is noted."""
    values = block.values(entry.name)
    parts: list[pa.Array] = []
    spans = [(0, len(values))]
    while spans:
        start, end = spans.pop()
        part = _parse_values(entry, values[start:end])
        if part is None and end - start <= _SMALL:
            part = _single_values(entry, block, start, end)
        if part is not None:
            parts.append(part)
        else:
            middle = (start + end) // 2
            spans += [(middle, end), (start, middle)]  # the first half is on top: parts stay in order
    return pa.concat_arrays(parts)


def _parse_values(entry: Field, values: Sequence[msgspec.Raw | None]) -> pa.Array | None:
    lines = _ENCODER.encode_lines([{_VALUE: value} for value in values])
    try:
        column = parse_lines(lines, pa.schema([(_VALUE, entry.type)]))[_VALUE].combine_chunks()
    except pa.ArrowInvalid:
        return None
    return column if _readable(column) else None


def _single_values(entry: Field, block: _Block, start: int, end: int) -> pa.Array:
    raws, values = block.values(entry.name), list[object]()
    for number in range(start, end):
        raw = raws[number]
        value, fits = cell(b"null" if raw is None else bytes(raw), entry.type)
        values.append(value)
        if not fits:
            block.note(number, entry.name, raw)
    return pa.array(values, entry.type)
