"""A copy of the catalog that needs no lake: tables in the place of the views, all of it or a part."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from assets.catalog.build import STORAGE_VERSION, commented, described, provider_table
from assets.catalog.columns import CATALOG_INFO, EXECUTIONS, RECORDINGS_OF, SHARED_TABLES
from assets.catalog.filesystem import mount
from assets.catalog.publication import CATALOG_NAME, local_catalog
from assets.catalog.remedies import explained
from assets.catalog.sources import literal
from resources.errors import ArchiveError
from resources.providers.protocol import ProviderSpec
from resources.redaction import redact
from resources.storage import ArchiveStorage


@dataclass(frozen=True, slots=True)
class Part:
    """Which rows to copy; None is no limit. Both days are included."""

    provider: str | None = None
    first: date | None = None
    last: date | None = None

    @property
    def sql(self) -> str:
        """The condition."""
        conditions = [
            f"provider = {literal(self.provider)}" if self.provider is not None else "",
            f"\"date\" >= '{self.first.isoformat()}'" if self.first is not None else "",
            f"\"date\" <= '{self.last.isoformat()}'" if self.last is not None else "",
        ]
        return " AND ".join(filter(None, conditions)) or "true"


def copy_catalog(storage: ArchiveStorage, specs: Iterable[ProviderSpec], target: Path, part: Part) -> dict[str, int]:
    """Make a DuckDB file of the published catalog's tables and views, as they answer now; return the rows of each.

    Raises:
        StorageError: no catalog has been published yet, or the lake cannot be read.
        ArchiveError: ``target`` exists already, its folder does not, or it cannot be written; or the catalog or the lake cannot
            be read. Nothing is left of it then.
    """
    if not target.parent.is_dir():
        msg = f"there is no folder {target.parent}: make it first, or name a file in another one"
        raise ArchiveError(msg)
    if target.exists():
        msg = f"{target} exists already: name another file, or remove it first"
        raise ArchiveError(msg)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
            partial = Path(folder) / "copy.duckdb"
            rows = _copied(storage, local_catalog(storage, Path(folder)), tuple(specs), partial, part)
            if partial.with_name(f"{partial.name}.wal").exists():
                msg = f"{target} was not closed cleanly: a write-ahead log is left"
                raise ArchiveError(msg)
            partial.replace(target)
    except duckdb.Error as error:
        raise ArchiveError(explained(error, storage.local_path(CATALOG_NAME))) from None
    except OSError as error:
        raise ArchiveError(redact(str(error))) from None
    return rows


def _copied(storage: ArchiveStorage, catalog: Path, specs: Sequence[ProviderSpec], target: Path, part: Part) -> dict[str, int]:
    rows: dict[str, int] = {}
    with duckdb.connect() as connection:
        mount(connection, storage)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH {literal(str(catalog))} AS published_catalog (READ_ONLY)")
        connection.execute(f"ATTACH {literal(str(target))} AS copied (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE copied")
        connection.execute("BEGIN")
        own = [provider_table(spec) for spec in specs]
        for table in (*own, *(each for each in SHARED_TABLES if each is not EXECUTIONS), CATALOG_INFO):
            where = part.sql if table is not CATALOG_INFO else "true"
            # The names are those of the registry and of the catalog, and the condition is made of a word and of days.
            select = f"SELECT * FROM published_catalog.{table.name} WHERE {where}"  # noqa: S608
            counted = connection.execute(f"CREATE TABLE {table.name} AS {select}").fetchone()
            rows[table.name] = int(counted[0]) if counted else 0
            commented(connection, table, "TABLE")
        shared = ", ".join(f'"{name}"' for name in EXECUTIONS.columns)
        parts = " UNION ALL ".join(f"SELECT {shared} FROM {table.name}" for table in own)  # noqa: S608 -- as above
        connection.execute(f"CREATE VIEW executions AS {parts}")
        commented(connection, EXECUTIONS, "VIEW")
        of_day = 'provider = of_provider AND "date" = CAST(of_date AS DATE)'
        macro = f"CREATE MACRO recordings_of(of_provider, of_date) AS TABLE SELECT * FROM recordings WHERE {of_day}"  # noqa: S608
        connection.execute(macro)
        described(connection, RECORDINGS_OF)
        connection.execute("COMMIT")
        connection.execute("USE memory")
        connection.execute("DETACH copied")
    return rows
