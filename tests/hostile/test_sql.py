"""SQL in every string: what comes from outside is data, and a question to the catalog reads the catalog alone."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.catalog.publication import publish
from assets.executions.ingest import expected_recordings
from assets.executions.intake import Row
from assets.executions.lake import write_partition
from assets.recordings.discovery import discover
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from pipelines.cli.query import ask as ask_storage
from resources.errors import ArchiveError
from resources.providers.registry import PROVIDERS
from resources.storage import open_storage

DAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SQL = (
    "'; DROP TABLE recordings; --", '"; DROP TABLE recordings; --', "'); ATTACH '/tmp/x' AS x; --",
    "$$; DROP VIEW executions; $$",
    "\\'; DELETE FROM executions; --", "/* */ UNION SELECT 1", "' OR '1'='1", "x' || (SELECT 1) || 'x", "\x00'; --",
    "{{7*7}}", "%s %(a)s ? $1",
)  # fmt: skip


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog in a folder whose name is SQL too, of executions with SQL in every field of every provider."""
    root = tmp_path_factory.mktemp("sql") / "it's; DROP TABLE x; --"
    storage = open_storage(str(root))
    for spec in PROVIDERS.values():
        rows: list[Row] = []
        for number, text in enumerate(SQL):
            quoted = _json(text)
            fields = ",".join(
                f'"{field.name}":{quoted}' for field in spec.fields if field.name not in {"id", "createdAt", "legs"}
            )
            raw = f'{{"id":{_json(f"{number}{text}")},{fields},{quoted}:{quoted}}}'
            rows.append(Row(f"{number}{text}", NOW, raw, NOW, NOW))
        table = write_partition(storage, spec, DAY, rows)
        expected = expected_recordings(spec, table)
        discover(Ledger(storage), spec.name, DAY, expected, run_id="'; --", now=NOW, policy=Policy())
    publish(storage, PROVIDERS.values(), NOW)
    return root / "archive.duckdb"


def ask(catalog: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Ask as the command does."""
    return ask_storage(open_storage(str(catalog.parent)), catalog, sql)


def _json(text: str) -> str:
    return json.dumps(text)


def test_every_string_is_data(catalog: Path) -> None:
    """All rows of all providers are there, with the text as it was, and so are all tables."""
    for spec in PROVIDERS.values():
        _, rows = ask(catalog, f"SELECT execution_id FROM {spec.view}")  # noqa: S608 -- a name of the registry
        assert {row[0] for row in rows} == {f"{number}{text}" for number, text in enumerate(SQL)}
    _, tables = ask(catalog, "SELECT table_name FROM information_schema.tables")
    assert {"recordings", "executions", "recording_attempts", "coverage"} <= {row[0] for row in tables}


OUTSIDE = (
    "SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')", "SELECT * FROM read_parquet('https://127.0.0.1:1/x')", "COPY recordings TO '{folder}/stolen.csv'",
    "COPY (SELECT 1) TO '{folder}/stolen.parquet' (FORMAT parquet)", "EXPORT DATABASE '{folder}/stolen'",
    "ATTACH '{folder}/stolen.db' AS s",
    "ATTACH ':memory:' AS m; CREATE TABLE m.t AS SELECT 1; COPY m.t TO '{folder}/stolen.csv'", "INSTALL httpfs", "LOAD httpfs",
    "SET enable_external_access = true", "RESET enable_external_access",
    "SET enable_external_access = true; SELECT * FROM '/etc/passwd'",
    "COPY (SELECT 1) TO 'archive://root/lake/stolen.csv'", "EXPLAIN ANALYZE COPY (SELECT 1) TO 'archive://root/lake/stolen.csv'",
    "COPY (SELECT 1) TO 'archive://root/lake/stolen.parquet' (FORMAT parquet, USE_TMP_FILE false)",
    "COPY (SELECT 1) TO 'archive://root/lake' (FORMAT csv, PARTITION_BY (\"1\"), OVERWRITE)",
    "COPY (SELECT 1) TO 'archive://root/lake/recording_tail/provider=feather/schema.parquet'",
    "COPY (SELECT 1) TO 'archive://root/lake/recording_tail/provider=feather/schema.parquet' (FORMAT csv, USE_TMP_FILE false)",
    "EXPORT DATABASE 'archive://root/lake/stolen'", "ATTACH 'archive://root/lake/stolen.db' AS s",
    "SELECT * FROM read_text('archive://root/.env')", "SELECT * FROM read_text('archive://root/lake/../manifests/x')",
    "SELECT * FROM read_text('archive://root//etc/hostname')", "SELECT * FROM read_text('archive://root/lake//etc/hostname')",
    "SELECT getenv('HOME')", "CREATE SECRET (TYPE s3, KEY_ID 'x', SECRET 'y')", "DELETE FROM recordings", "DROP VIEW executions",
    "CREATE TABLE x AS SELECT 1", "UPDATE catalog_info SET published_at = now()",
    "PRAGMA database_list; COPY recordings TO '{folder}/stolen.csv'",
    "SET log_query_path = '{folder}/stolen.log'", "SET secret_directory = '{folder}/stolen'",
    "SET temp_directory = '{folder}/stolen'",
    "SET profiling_output = '{folder}/stolen.json'; PRAGMA enable_profiling = 'json'; SELECT 1",
)  # fmt: skip


@pytest.mark.parametrize("sql", OUTSIDE)
def test_a_question_reads_the_catalog_alone(catalog: Path, tmp_path: Path, sql: str) -> None:
    """Files, the network, the environment and everything that writes are refused, and nothing is left on the disk."""
    before, bytes_before = sorted(os.listdir(tmp_path)), catalog.read_bytes()  # noqa: PTH208 -- names alone
    lake = _files(catalog.parent)
    with pytest.raises(ArchiveError):
        ask(catalog, sql.format(folder=tmp_path))
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208
    assert catalog.read_bytes() == bytes_before
    assert _files(catalog.parent) == lake


def test_a_file_that_is_gone_is_said_in_a_sentence(catalog: Path) -> None:
    """What the lake's filesystem says comes as a sentence, without what led to it."""
    with pytest.raises(ArchiveError, match=r"^[^\n]*cannot open lake/x\.csv: it is not there$"):
        ask(catalog, "SELECT * FROM read_csv('archive://root/lake/x.csv')")


def _files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_questions_would_do_harm(tmp_path: Path) -> None:
    """In a connection of DuckDB's own making, such a question does write: what refuses it is ours."""
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1) TO '{tmp_path}/stolen.csv'")
    assert (tmp_path / "stolen.csv").exists()
