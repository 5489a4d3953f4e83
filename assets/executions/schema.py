"""The columns of the executions lake: the common ones, a provider's own, and those that the archive adds.

The order is the common columns, then the provider's fields in the order of its spec, then :data:`TRACE`.

A provider's field keeps the column name of its spec. Where a common or a trace column has that name already (DuckDB compares
names without case), the provider's own value gets the suffix :data:`AS_SENT`: ``status`` is the common column and
``status_as_sent`` the provider's own. So a clash is impossible by construction; what is left (two fields with one column, a
column that begins with the underscore kept for the archive) is refused by :func:`columns`, which every asset calls at import.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from resources.model import Leg
from resources.providers.protocol import Field, ProviderSpec

TIMESTAMP = pa.timestamp("us", tz="UTC")
AS_SENT = "_as_sent"

# Raised whenever the same raw JSON would decode to other values than before: partitions are then decoded again from ``_raw``.
DECODER_VERSION = 1


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the lake: its name, its Arrow type and the comment that the catalog shows."""

    name: str
    type: pa.DataType
    doc: str


# The partition, then what every provider's ``canonical_sql`` gives, in its order.
PARTITION: tuple[Column, ...] = (
    Column("provider", pa.string(), "The provider's name in lower case; the partition key."),
    Column("date", pa.date32(), "The UTC day of created_at; the partition key."),
)
CANONICAL: tuple[Column, ...] = (
    Column("execution_id", pa.string(), "The provider's id of the execution, verbatim. Unique in its partition."),
    Column("created_at", TIMESTAMP, "When the execution was created, UTC."),
    Column("started_at", TIMESTAMP, "When the execution began to run, UTC; NULL when it is unknown."),
    Column("ended_at", TIMESTAMP, "When the execution ended, UTC; NULL while it runs or when it is unknown."),
    Column("status", pa.string(), "The provider's own word for the state; words not seen before stay as they are."),
    Column("terminal", pa.bool_(), "True when the execution has ended or was purged, so that nothing more will happen to it."),
    Column("purged_at", TIMESTAMP, "When the provider's retention purge emptied the execution, UTC; NULL when it did not."),
    Column("legs", pa.list_(pa.string()), "The recordings to expect: main, and supervisor for a warm transfer."),
    Column("agent_id", pa.string(), "The provider's id of the agent."),
    Column("agent_name", pa.string(), "The agent's name for people."),
    Column("workflow_id", pa.string(), "The provider's id of the workflow, the same across its API's generations."),
    Column("workflow_version_id", pa.string(), "The provider's id of the workflow's version."),
    Column("workflow_name", pa.string(), "The workflow's name for people."),
    Column("duration_seconds", pa.float64(), "How long the execution took, in seconds."),
)
COMMON: tuple[Column, ...] = PARTITION + CANONICAL

FIRST_SEEN, LAST_SEEN, RAW, EXTRA, BAD = "first_seen_at", "last_seen_at", "_raw", "_extra", "_bad"
TRACE: tuple[Column, ...] = (
    Column(FIRST_SEEN, TIMESTAMP, "When a read of the archive first listed the execution, UTC."),
    Column(
        LAST_SEEN,
        TIMESTAMP,
        "A read that listed the execution, UTC: the latest one when the partition was last written, as a partition is not "
        "written again for this column alone.",
    ),
    Column(
        RAW,
        pa.string(),
        "The execution as JSON: every fact of every read, the newest non-empty value of each field; credentials removed.",
    ),
    Column(EXTRA, pa.string(), "JSON object of the top-level fields that have no column yet, or NULL."),
    Column(BAD, pa.string(), "JSON object of field to the value that did not fit its column's type, or NULL."),
)
_RESERVED = frozenset(column.name.lower() for column in COMMON + TRACE)


def lake_column(field: Field) -> str:
    """Return the name that a provider's field has in the lake."""
    return field.column + AS_SENT if field.column.lower() in _RESERVED else field.column


@cache
def columns(spec: ProviderSpec) -> tuple[Column, ...]:
    """Return all columns of a provider's lake, in order, with their documentation.

    Raises:
        ValueError: two fields share a column, a column begins with an underscore, a JSON field is not a string column, or an
            expected length is no field with a number.
    """
    length_columns(spec)
    own = tuple(Column(lake_column(field), field.type, field.doc) for field in spec.fields)
    names = [column.name.lower() for column in own]
    repeated = sorted({name for name in names if names.count(name) > 1 or name in _RESERVED})
    parsed = [field.column.lower() for field in spec.fields]
    repeated += sorted({name for name in parsed if parsed.count(name) > 1})
    hidden = sorted(name for name in names if name.startswith("_"))
    untyped = sorted(field.column for field in spec.fields if field.json and field.type != pa.string())
    if repeated or hidden or untyped:
        msg = f"{spec.name}: repeated columns {repeated}, reserved names {hidden}, JSON fields that are not strings {untyped}"
        raise ValueError(msg)
    return COMMON + own + TRACE


@cache
def lake_schema(spec: ProviderSpec) -> pa.Schema:
    """Return the Arrow schema of a provider's lake. Raises ValueError as :func:`columns` does."""
    return pa.schema([(column.name, column.type) for column in columns(spec)])


@cache
def length_columns(spec: ProviderSpec) -> dict[Leg, str]:
    """Return for each leg the lake's column that says how long its recording should play.

    Raises:
        ValueError: the spec names a field that it does not have, or that is no number.
    """
    fields = {field.name: field for field in spec.fields}
    wrong = [
        length.field
        for length in spec.expected_lengths.values()
        if length.field not in fields or not pa.types.is_floating(fields[length.field].type)
    ]
    if wrong:
        msg = f"{spec.name}: expected_lengths names {wrong}, which are no fields with a number"
        raise ValueError(msg)
    return {leg: lake_column(fields[length.field]) for leg, length in spec.expected_lengths.items()}


def column_docs(spec: ProviderSpec) -> dict[str, str]:
    """Return the comment of each column, for the catalog."""
    return {column.name: column.doc for column in columns(spec)}


@cache
def fingerprint(spec: ProviderSpec) -> str:
    """Return 16 hex digits that change whenever the same raw JSON may give other columns or values."""
    parts = [str(DECODER_VERSION), str(lake_schema(spec)), spec.canonical_sql]
    parts += [f"{field.name}={field.column}:{field.type}:{field.json}" for field in spec.fields]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
