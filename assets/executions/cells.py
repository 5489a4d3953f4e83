"""One value of one field into one Arrow type, or not: the slow path of the decoder, for columns in which something does not fit.

Wherever the fast path (pyarrow.json over the whole column) accepts a value, this gives the same one; a property test compares
the two. Beyond that it accepts what loses nothing: ``3.0`` as an integer, and every form of time that the clients accept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple, cast

import msgspec
import pyarrow as pa
import pyarrow.json as pj

from assets.executions.schema import TIMESTAMP
from resources.providers.moments import moment_of

CELL = "cell"
_NAIVE = pa.timestamp("us")


class Cell(NamedTuple):
    """The value that the column gets, and whether it is all that was sent (False: the original goes to ``_bad``)."""

    value: object
    fits: bool


_UNFIT = Cell(None, fits=False)


def cell(raw: bytes, kind: pa.DataType) -> Cell:
    """Decode one JSON value (strict JSON text) for a column of ``kind``. Never raises for whatever the value is."""
    if raw == b"null":
        return Cell(None, fits=True)
    try:
        if pa.types.is_string(kind):
            return _text(raw)
        if pa.types.is_boolean(kind):
            return Cell(msgspec.json.decode(raw, type=bool), fits=True)
        if pa.types.is_integer(kind):
            return _integer(raw, kind)
        if pa.types.is_floating(kind):
            return Cell(msgspec.json.decode(raw, type=float), fits=True)
        if kind == TIMESTAMP:
            return _moment(msgspec.json.decode(raw, type=str | int | float))
        return Cell(parse_lines(b'{"cell":' + raw + b"}", pa.schema([(CELL, kind)]))[CELL][0].as_py(), fits=True)
    except (msgspec.DecodeError, pa.ArrowException, ValueError, OverflowError, RecursionError):
        return _UNFIT


def parse_lines(lines: bytes, schema: pa.Schema) -> pa.Table:
    """Parse newline-delimited JSON objects by an explicit schema; keys outside of it are left out.

    Raises:
        pyarrow.ArrowException: a value does not fit its column; nothing is converted silently (1.5 is no integer).
    """
    return pj.read_json(
        cast("BinaryIO", pa.BufferReader(lines)),
        # One block, since pyarrow refuses a row that straddles two; one thread, since partitions run side by side.
        read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


def _text(raw: bytes) -> Cell:
    if raw.startswith(b'"'):
        return Cell(msgspec.json.decode(raw, type=str), fits=True)
    if raw.startswith((b"{", b"[")):
        return _UNFIT
    # A number or a boolean where text was promised (``"id": 123``): its text is the same fact, and `_bad` tells of the drift.
    return Cell(raw.decode(), fits=False)


def _integer(raw: bytes, kind: pa.DataType) -> Cell:
    number = msgspec.json.decode(raw, type=int | float)
    if int(number) != number:
        return _UNFIT
    return Cell(pa.scalar(int(number), kind).as_py(), fits=True)


def _moment(text: str | float) -> Cell:
    for kind in (TIMESTAMP, _NAIVE) if isinstance(text, str) else ():
        try:
            # Arrow's own parser first, so that both paths agree on every text that the fast one takes.
            found = cast("datetime", pa.scalar(text).cast(kind).as_py())
            return Cell(found.replace(tzinfo=UTC), fits=True)
        except pa.ArrowInvalid:
            continue
    # Then what the provider's client takes for its times: epochs, and fractions below a microsecond (cut).
    moment = moment_of(text)
    return _UNFIT if moment is None else Cell(moment, fits=True)
