"""Which fields of a row are of another JSON type than their column: told at once by msgspec, without building the column.

A field that passes here is one that pyarrow.json takes in nearly all cases; one that does not is looked at by
:mod:`assets.executions.cells`. Both give the same values where both give one, so this decides on the way and never on the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from assets.executions.intake import Fields
from resources.providers.protocol import Field

# What Arrow's own parser of times takes, or nearly so.
_MOMENT = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?$"
_Moment = Annotated[str, msgspec.Meta(pattern=_MOMENT)] | None  # pyright: ignore[reportOperatorIssue] -- its own types lag
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None  # pyright: ignore[reportOperatorIssue] -- the same


class Shape:
    """The JSON types of a provider's typed fields."""

    def __init__(self, typed: Sequence[Field]) -> None:
        kinds = [(entry.name, _json_type(entry.type)) for entry in typed]
        self._row = msgspec.json.Decoder(_struct(kinds))
        self._fields = {name: msgspec.json.Decoder(kind) for name, kind in kinds}

    def fits(self, raw: str) -> bool:
        """Tell whether all fields of a strict JSON object are of their types."""
        return _decodes(self._row, raw)

    def fits_field(self, name: str, value: msgspec.Raw) -> bool:
        """Tell whether the value of one field is of its type."""
        return _decodes(self._fields[name], value)

    def misfits(self, fields: Fields) -> list[str]:
        """Return the names of the fields of a row that are not of their types."""
        return [name for name in self._fields if name in fields and not self.fits_field(name, fields[name])]


def _decodes(decoder: msgspec.json.Decoder[Any], value: str | msgspec.Raw) -> bool:
    try:
        decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _json_type(kind: pa.DataType) -> Any:  # noqa: ANN401 -- a type made at run time
    """Return the type that msgspec checks for a column of ``kind``; null is always right, as is what has no counterpart."""
    if pa.types.is_string(kind):
        return str | None
    if pa.types.is_timestamp(kind):
        return _Moment
    if pa.types.is_boolean(kind):
        return bool | None
    if pa.types.is_integer(kind):
        return _Whole
    if pa.types.is_floating(kind):
        return float | None
    if isinstance(kind, pa.ListType):
        return list[_json_type(kind.value_type)] | None
    if isinstance(kind, pa.StructType):
        return _struct([(entry.name, _json_type(entry.type)) for entry in kind]) | None
    return msgspec.Raw


def _struct(fields: Sequence[tuple[str, Any]]) -> type[msgspec.Struct]:
    names = {f"field_{number}": name for number, (name, _) in enumerate(fields)}
    entries = [(attribute, kind, None) for attribute, (_, kind) in zip(names, fields, strict=True)]
    return msgspec.defstruct("Row", entries, rename=names)
