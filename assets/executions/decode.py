"""Strict JSON rows -> the typed table of a provider's lake, whatever the provider changed since its spec was written.

Every column but the identity, the partition and the two times of seeing is a function of ``_raw`` alone. So a row reads the
same whichever rows stand beside it, and a partition that was written under an older spec is decoded again when it is read.

The clean path is vectorised: msgspec splits each object into raw fields, pyarrow.json types all typed columns at once by the
explicit schema (DuckDB and an inferred schema turn 1.5 into 2 silently), fields kept as JSON are taken as they are. A column that
does not parse is halved until the offending values stand alone; only they go through :mod:`assets.executions.cells`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from assets.executions.canonical import canonical_columns
from assets.executions.cells import cell, parse_lines
from assets.executions.intake import REPAIR_KEYS, Fields, Row, split
from assets.executions.schema import BAD, EXTRA, FIRST_SEEN, LAST_SEEN, RAW, TIMESTAMP, lake_column, lake_schema
from resources.providers.protocol import Field, ProviderSpec

# Bounds the memory of one pass: the split fields of a block are alive together with its NDJSON.
BLOCK_BYTES = 32 * 1024 * 1024
# Below this many rows, single values (1.5 us each) are cheaper than two more parses of half the rows (60 us each; measured).
_SMALL = 64

_ENCODER = msgspec.json.Encoder()
_VALUE = "value"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Python's datetime, and so every Python reader of the lake, ends here. Arrow would accept the year 0 and the year 32767.
_EARLIEST = pa.scalar(datetime(1, 1, 1, tzinfo=UTC), TIMESTAMP)
_LATEST = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), TIMESTAMP)


@dataclass(slots=True)
class _Block:
    """The rows of one pass, split, and what did not fit: row number -> JSON key -> the original value."""

    rows: Sequence[Row]
    fields: list[Fields]
    bad: dict[int, dict[str, object]] = field(default_factory=dict)

    def note(self, row: int, name: str, value: object) -> None:
        self.bad.setdefault(row, {})[name] = value


def decode(spec: ProviderSpec, rows: Sequence[Row], day: date) -> pa.Table:
    """Return ``rows`` as a table of :func:`~assets.executions.schema.lake_schema`, in the same order, one row each.

    Args:
        spec: the provider.
        rows: strict JSON objects with their identity (see :mod:`assets.executions.intake`).
        day: the partition that they belong to.
    """
    schema = lake_schema(spec)
    blocks = [_decode_block(spec, block, day) for block in _blocks(rows)]
    return pa.concat_tables(blocks) if blocks else schema.empty_table()


def _blocks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    cuts, size = [0], 0
    for number, row in enumerate(rows):
        size += len(row.raw)
        if size >= BLOCK_BYTES:
            cuts.append(number + 1)
            size = 0
    if cuts[-1] < len(rows):
        cuts.append(len(rows))
    return (rows[start:end] for start, end in pairwise(cuts))


def _decode_block(spec: ProviderSpec, rows: Sequence[Row], day: date) -> pa.Table:
    block = _Block(rows, [split(row.raw) for row in rows])
    raw = pa.array([row.raw for row in rows], pa.string())
    own = _own_columns(spec, block)
    extra = _extra(spec, block)
    parsed = pa.table({**{entry.column: own[entry.column] for entry in spec.fields}, RAW: raw})
    common, faults = canonical_columns(spec, parsed)
    for row, fault in faults.items():
        block.note(row, "_canonical", fault)
    count = len(rows)
    # The identity comes from the client that read it: it holds even where the JSON's own fields did not fit.
    table = common | {
        "provider": pa.repeat(pa.scalar(spec.name), count),
        "date": pa.repeat(pa.scalar(day, pa.date32()), count),
        "execution_id": pa.array([row.execution_id for row in rows], pa.string()),
        "created_at": moments(row.created_at for row in rows),
        FIRST_SEEN: moments(row.first_seen_at for row in rows),
        LAST_SEEN: moments(row.last_seen_at for row in rows),
        RAW: raw,
        EXTRA: extra,
        BAD: _objects([block.bad.get(row) for row in range(count)]),
    }
    table |= {lake_column(entry): own[entry.column] for entry in spec.fields}
    schema = lake_schema(spec)
    return pa.table([table[name] for name in schema.names], schema=schema)


def moments(values: Iterable[datetime]) -> pa.Array:
    """Return aware datetimes as a column. By way of integers: Arrow takes ten times as long over datetimes with a zone."""
    return pa.array([(value - EPOCH) // _MICROSECOND for value in values], pa.int64()).cast(TIMESTAMP)


def _objects(values: Sequence[object]) -> pa.Array:
    return pa.array([_ENCODER.encode(value).decode() if value else None for value in values], pa.string())


def _extra(spec: ProviderSpec, block: _Block) -> pa.Array:
    known = {entry.name for entry in spec.fields}
    texts: list[dict[str, msgspec.Raw] | None] = []
    for number, fields in enumerate(block.fields):
        unknown = None if fields.keys() <= known else {key: value for key, value in fields.items() if key not in known}
        texts.append(unknown)
        if unknown and not REPAIR_KEYS.isdisjoint(unknown):
            for key in REPAIR_KEYS & unknown.keys():
                block.note(number, key, unknown[key])
    return _objects(texts)


def _own_columns(spec: ProviderSpec, block: _Block) -> dict[str, pa.Array]:
    columns = {entry.column: _json_column(entry, block) for entry in spec.fields if entry.json}
    typed = tuple(entry for entry in spec.fields if not entry.json)
    return columns | (_parse(typed, block) or {entry.column: _mend(entry, block) for entry in typed})


def _json_column(entry: Field, block: _Block) -> pa.Array:
    name = entry.name
    texts = (bytes(fields[name]).decode() if name in fields else None for fields in block.fields)
    return pa.array([None if text == "null" else text for text in texts], pa.string())


def _parse(typed: Sequence[Field], block: _Block) -> dict[str, pa.Array] | None:
    """Type all columns at once; None when any value of any row does not fit, or when no column is typed."""
    schema = pa.schema([(entry.column, entry.type) for entry in typed])
    names = tuple((entry.name, entry.column) for entry in typed)
    lines = _ENCODER.encode_lines([{column: fields[name] for name, column in names if name in fields} for fields in block.fields])
    try:
        table = parse_lines(lines, schema)
    except pa.ArrowInvalid:
        return None
    columns = {name: table[name].combine_chunks() for name in schema.names}
    return columns if all(map(_readable, columns.values())) else None


def _readable(column: pa.Array) -> bool:
    if column.type != TIMESTAMP or column.null_count == len(column):
        return True
    bounds = pc.min_max(column)
    return bool(pc.and_(pc.greater_equal(bounds["min"], _EARLIEST), pc.less_equal(bounds["max"], _LATEST)).as_py())


def _mend(entry: Field, block: _Block) -> pa.Array:
    """Type one column, halving it where it does not parse; what does not fit becomes null and is noted."""
    values = [fields.get(entry.name) for fields in block.fields]
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
    values: list[object] = []
    for number in range(start, end):
        raw = block.fields[number].get(entry.name)
        value, fits = cell(b"null" if raw is None else bytes(raw), entry.type)
        values.append(value)
        if not fits:
            block.note(number, entry.name, raw)
    return pa.array(values, entry.type)
