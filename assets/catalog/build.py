"""Building the DuckDB file that analysts open: whole, in a new file, from the lake and the ledger alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib import resources as package_files
from pathlib import Path

import duckdb
import pyarrow as pa

from assets.catalog.columns import EXECUTIONS, SHARED_TABLES, Table
from assets.executions import lake
from assets.executions.schema import column_docs, lake_schema
from assets.recordings.events import SCHEMA as EVENT_SCHEMA
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import COPY_IS_THERE, NOT_ATTEMPTS
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage

STORAGE_VERSION = "v1.5.0"
"""The file format that DuckDB 1.5 clients, and all later ones, can open."""

_SQL = package_files.files("assets.catalog") / "sql"
_FROM_LEDGER = ("recordings.sql", "recording_attempts.sql")


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Rows in each table of the file."""

    rows: dict[str, int]


def build(path: Path, storage: ArchiveStorage, specs: Iterable[ProviderSpec], now: datetime) -> BuildReport:
    """Make a new DuckDB file at ``path``, which must not exist, and close it.

    Raises:
        StorageError: the lake cannot be read.
        duckdb.Error: the file cannot be written.
    """
    specs = tuple(specs)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{_quoted(str(path))}' AS catalog (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE catalog")
        for spec in specs:
            _load_executions(connection, storage, spec)
        _unite_executions(connection, specs)
        _load_ledger(connection, Ledger(storage), specs)
        connection.execute((_SQL / "coverage.sql").read_text())
        connection.execute("CREATE TABLE catalog_info AS SELECT ?::TIMESTAMPTZ AS published_at", [now])
        for table in (*SHARED_TABLES, *(provider_table(spec) for spec in specs), CATALOG_INFO):
            _comment(connection, table)
        rows = {table.name: _count(connection, table.name) for table in (*SHARED_TABLES, *map(provider_table, specs))}
        connection.execute("USE memory")
        connection.execute("DETACH catalog")
    return BuildReport(rows)


CATALOG_INFO = Table(
    "catalog_info", "One row: when this file was made.", {"published_at": "UTC moment at which the file was built"}
)


def provider_table(spec: ProviderSpec) -> Table:
    """Return the documentation of a provider's own table."""
    comment = f"One row for each {spec.title} execution, with all fields of the provider, nested ones included."
    return Table(spec.view, comment, column_docs(spec))


def _load_executions(connection: duckdb.DuckDBPyConnection, storage: ArchiveStorage, spec: ProviderSpec) -> None:
    connection.register("incoming", lake_schema(spec).empty_table())
    connection.execute(f"CREATE TABLE {spec.view} AS SELECT * FROM incoming")  # noqa: S608 -- names of the registry
    for day in lake.partitions(storage, spec.name):
        connection.register("incoming", lake.read_partition(storage, spec, day))
        connection.execute(f"INSERT INTO {spec.view} BY NAME SELECT * FROM incoming")  # noqa: S608 -- names of the registry
    connection.unregister("incoming")


def _unite_executions(connection: duckdb.DuckDBPyConnection, specs: Iterable[ProviderSpec]) -> None:
    columns = ", ".join(f'"{name}"' for name in EXECUTIONS.columns)
    parts = " UNION ALL ".join(f"SELECT {columns} FROM {spec.view}" for spec in specs)  # noqa: S608 -- names of the registry
    connection.execute(f"CREATE VIEW executions AS {parts}")


def _load_ledger(connection: duckdb.DuckDBPyConnection, ledger: Ledger, specs: Iterable[ProviderSpec]) -> None:
    empty = EVENT_SCHEMA.empty_table()
    connection.register("states", pa.concat_tables([empty, *(ledger.state_table(spec.name) for spec in specs)]))
    connection.register("events", pa.concat_tables([empty, *(ledger.events_table(spec.name) for spec in specs)]))
    connection.register("not_attempts", pa.table({"outcome": sorted(outcome.value for outcome in NOT_ATTEMPTS)}))
    connection.register("copy_is_there", pa.table({"outcome": sorted(outcome.value for outcome in COPY_IS_THERE)}))
    for name in _FROM_LEDGER:
        connection.execute((_SQL / name).read_text())
    connection.unregister("states")
    connection.unregister("events")
    connection.unregister("not_attempts")
    connection.unregister("copy_is_there")


def _comment(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    kind = "VIEW" if table is EXECUTIONS else "TABLE"
    connection.execute(f"COMMENT ON {kind} {table.name} IS '{_quoted(table.comment)}'")
    for column, comment in table.columns.items():
        connection.execute(f"COMMENT ON COLUMN {table.name}.\"{column}\" IS '{_quoted(comment)}'")


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608 -- names of the registry
    return int(row[0]) if row else 0


def _quoted(text: str) -> str:
    return text.replace("'", "''")
