"""``recording-archive query "SQL"``: ask the catalog."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import click
import duckdb

from assets.catalog.filesystem import PROTOCOL, mount
from assets.catalog.publication import local_catalog
from assets.catalog.remedies import explained
from assets.catalog.sources import literal
from pipelines.cli.output import print_json, print_table
from resources.archive import open_archive
from resources.errors import ArchiveError
from resources.storage import ArchiveStorage


@click.command()
@click.argument("sql")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: columns and rows.")
def query(sql: str, as_json: bool) -> None:
    """Run SQL on the published catalog, read-only.

    Raises:
        StorageError: no catalog has been published yet.
        ArchiveError: DuckDB refuses the SQL, or cannot read the catalog or the lake; its message says why, and what to do.
    """
    if not sql.strip():
        raise click.UsageError('there is no SQL: try "SELECT * FROM coverage"')
    archive = open_archive()
    with tempfile.TemporaryDirectory(prefix="recording-archive-") as folder:
        columns, rows = ask(archive.storage, local_catalog(archive.storage, Path(folder)), sql)
    if as_json:
        print_json({"columns": columns, "rows": [dict(zip(columns, map(_finite, row), strict=True)) for row in rows]})
    else:
        print_table(columns, rows)


def ask(storage: ArchiveStorage, catalog: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns and rows that ``sql`` gives on a catalog file, whose views read the lake of ``storage``.

    It can read the catalog and the lake, and write nothing: the one filesystem that is left to it has no way to.

    Raises:
        ArchiveError: DuckDB refuses it.
    """
    try:
        with (
            tempfile.TemporaryDirectory(prefix="recording-archive-") as spill,
            duckdb.connect(str(catalog), read_only=True) as db,
        ):
            mount(db, storage)
            db.execute("SET TimeZone = 'UTC'")
            db.execute(f"SET temp_directory = {literal(spill)}")  # not beside the catalog
            db.execute(f"SET allowed_directories = ['{PROTOCOL}://']")
            db.execute("SET enable_external_access = false")  # COPY ... TO would write files
            db.execute("SET lock_configuration = true")  # other settings name files and folders too
            found = db.execute(sql)
            return [item[0] for item in found.description or []], found.fetchall()
    except duckdb.Error as error:
        raise ArchiveError(explained(error, catalog)) from None


def _finite(value: object) -> object:
    """Return None for a number that JSON does not have (NaN, infinity)."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
