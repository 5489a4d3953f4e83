"""The common columns of all providers, from the provider's own columns, by the provider's ``canonical_sql`` in DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from assets.executions.schema import CANONICAL
from resources.providers.protocol import ProviderSpec

_SCHEMA = pa.schema([(column.name, column.type) for column in CANONICAL])


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """Return the process's own database, without a table: opening one takes longer than a day of few executions."""
    connection = duckdb.connect(":memory:")
    # One thread keeps the order of the rows whatever the SQL does, and leaves the cores to other partitions.
    connection.execute("SET threads = 1")
    return connection


class Canon:
    """The common columns of one provider's rows. Not safe to use from several threads."""

    def __init__(self, spec: ProviderSpec) -> None:
        self._spec = spec
        self._connection = _database().cursor()
        self._connection.execute("SET TimeZone = 'UTC'")

    def columns(self, parsed: pa.Table) -> tuple[dict[str, pa.Array], dict[int, str]]:
        """Return the common columns of ``parsed``, row by row, and the rows for which the SQL failed, with the reason.

        A row that the SQL cannot digest has NULLs, is not terminal and expects no recording; the others are not touched by it.

        Raises:
            ValueError: the SQL does not give one row for each row, or not the documented columns: a fault of the spec.
        """
        faults: dict[int, str] = {}
        try:
            parts = [_attempt(self._connection, self._spec, parsed, 0, faults)]
        finally:
            self._connection.unregister("parsed")
        table = pa.concat_tables(parts).combine_chunks() if parsed.num_rows else _SCHEMA.empty_table()
        columns = {name: _whole(table[name]) for name in _SCHEMA.names}
        return columns | _settled(columns), faults

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _attempt(
    connection: duckdb.DuckDBPyConnection, spec: ProviderSpec, parsed: pa.Table, offset: int, faults: dict[int, str]
) -> pa.Table:
    connection.register("parsed", parsed)
    try:
        answer = connection.sql(spec.canonical_sql).to_arrow_table()
    except duckdb.DataError as error:
        # One value that a cast refuses fails the whole query (a Binder or Parser error, a fault of the SQL, goes through).
        if parsed.num_rows == 1:
            faults[offset] = str(error).splitlines()[0]
            return pa.table([pa.nulls(1, entry.type) for entry in _SCHEMA], schema=_SCHEMA)
        half = parsed.num_rows // 2
        return pa.concat_tables(
            [
                _attempt(connection, spec, parsed.slice(0, half), offset, faults),
                _attempt(connection, spec, parsed.slice(half), offset + half, faults),
            ]
        )
    if answer.column_names != _SCHEMA.names or answer.num_rows != parsed.num_rows:
        msg = f"{spec.name}: canonical_sql gives {answer.num_rows} rows of {answer.column_names} for {parsed.num_rows} rows"
        raise ValueError(msg)
    return answer.cast(_SCHEMA)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _settled(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Return the two columns that are never NULL: nothing more happens to a purged execution, whatever its status says."""
    legs = columns["legs"]
    if legs.null_count:
        legs = pa.array([found or [] for found in legs.to_pylist()], legs.type)
    ended = cast("pa.BooleanArray", columns["terminal"].fill_null(False))
    terminal = cast("pa.Array", pc.or_(ended, columns["purged_at"].is_valid()))
    return {"terminal": terminal, "legs": legs}
