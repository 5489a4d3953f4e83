"""Digests of the rows of event files: what a writer says of each of its rows, so that a changed one can be named.

A row's digest is that of its JSON, its columns' names included. Whole tables get theirs column by column: a Python object for
each cell would take three times as long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast

import msgspec
import pyarrow as pa

from resources.arrow import compute as pc

DIGEST_BYTES = 8
_FEW = 200  # below, a hundred calls of Arrow's functions cost more than the rows (measured)
_SPECIAL = '["\\\\\\x00-\\x1f]'
_MOMENT = pa.timestamp("us", "UTC")
_DAYS = ((date(1000, 1, 1) - date(1970, 1, 1)).days, (date(9999, 12, 31) - date(1970, 1, 1)).days)
_MICROSECONDS = (_DAYS[0] * 86_400_000_000, _DAYS[1] * 86_400_000_000)
_ENCODER = msgspec.json.Encoder()
_NULL = pa.scalar("null")


def row_digest(row: Mapping[str, Any]) -> str:
    """Return a short digest of a row, its columns' names included: 16 hex digits."""
    return _digest(_ENCODER.encode(row))


def row_digests(rows: Sequence[msgspec.Struct]) -> list[str]:
    """Return the digest of each of some rows, in their order: what :func:`row_digest` says of mappings of the same names."""
    # Encoded together: no line break stands within a line of JSON.
    return [_digest(line) for line in _ENCODER.encode_lines(rows).splitlines()]


def digests_of(table: pa.Table, *, few: int = _FEW) -> list[str]:
    """Return the digest of each row of a table, in their order: what :func:`row_digest` says of its rows.

    Up to ``few`` rows are digested one by one.
    """
    if table.num_rows <= few or table.num_columns == 0:
        return [row_digest(row) for row in table.to_pylist()]
    parts: list[pa.Array | pa.ChunkedArray | pa.Scalar] = []
    for number, name in enumerate(table.column_names):
        start = "{" if number == 0 else ","
        parts += [pa.scalar(f"{start}{_ENCODER.encode(name).decode()}:"), _json_of(table[name])]
    lines = cast("pa.ChunkedArray", pc.binary_join_element_wise(*parts, pa.scalar("}"), pa.scalar("")))
    return [_digest(line) for line in cast("list[bytes]", lines.cast(pa.binary()).to_pylist())]


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def _json_of(column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray | pa.Scalar:
    """Return a column's values as msgspec writes them into JSON; most columns hold few values many times."""
    if column.null_count == len(column):
        return _NULL
    encoded = one_dictionary(column)
    return pc.fill_null(_values_of(encoded.dictionary).take(encoded.indices), _NULL)


def one_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Return a column as its distinct values, in the order in which they first come, and where they stand."""
    whole: Any = column.combine_chunks()
    encoded: Any = whole.dictionary_encode()
    found: Any = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return found


def _values_of(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_string(kind) and not pc.any(pc.match_substring_regex(values, _SPECIAL)).as_py():
        return _quoted(values)
    if pa.types.is_integer(kind):
        return values.cast(pa.string())
    if pa.types.is_date32(kind) and _is_within(values.cast(pa.int32()), _DAYS):
        return _quoted(values.cast(pa.string()))
    if kind == _MOMENT and _is_within(values.cast(pa.int64()), _MICROSECONDS):
        # 2026-11-20 12:00:00.000000Z, and in JSON 2026-11-20T12:00:00Z
        texts = pc.replace_substring(values.cast(pa.string()), " ", "T")
        return _quoted(pc.replace_substring(texts, ".000000Z", "Z"))
    return pa.array([_ENCODER.encode(value).decode() for value in cast("list[object]", values.to_pylist())], pa.string())


def _quoted(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar('"'), texts, pa.scalar('"'), pa.scalar(""))


def _is_within(values: pa.Array, bounds: tuple[int, int]) -> bool:
    """Whether all years have four digits: others are not written in the same way by everybody."""
    found = pc.min_max(values)
    return bool(bounds[0] <= found["min"].as_py() and found["max"].as_py() <= bounds[1])
