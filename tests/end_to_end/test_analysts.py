"""The catalog as analysts use it: open at any moment, documented, at home anywhere, and made from the rest to the row."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from resources.providers.registry import PROVIDERS
from sandbox.options import WorldOptions
from sandbox.server import Sandbox
from tests.end_to_end.command import SECONDS, Operator, wait_until
from tests.end_to_end.conftest import Demo, all_days
from tests.end_to_end.truth import ask

pytestmark = pytest.mark.slow

REQUIRED = {
    "recordings": {
        *("provider", "execution_id", "leg", "date", "state", "attempts", "next_attempt_at", "archived_at", "path", "bytes"),
        *("sha256", "content_type", "last_outcome", "last_http_status"),
    },
    "coverage": {
        *("provider", "date", "executions", "recordings"),
        *("pending", "not_ready", "blocked", "archived", "absent", "purged", "failed"),
    },
    "executions": {"provider", "date", "execution_id", "created_at", "status"},
    "asteroid_executions": {"execution_id", "date", "created_at"},
    "feather_calls": {"execution_id", "date", "created_at"},
    "kataven_sessions": {"execution_id", "date", "created_at"},
    "due": {"provider", "execution_id", "leg", "date", "next_attempt_at"},
    "execution_days": {"execution_id", "provider", "date"},
    "recording_attempts": {"provider", "execution_id", "leg", "date", "at", "outcome", "state", "http_status", "detail"},
}
READERS = 4
READER = """
import json, pathlib, sys, duckdb
catalog, stop, ready, tables = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4].split(",")
opens, failures, seen = 0, [], set()
while not stop.exists():
    try:
        with duckdb.connect(catalog, read_only=True) as connection:
            for table in tables:
                connection.execute(f'SELECT * FROM "{table}"').fetchall()
            seen.add(str(connection.execute("SELECT published_at::VARCHAR FROM catalog_info").fetchone()[0]))
            opens += 1
    except Exception as error:
        failures.append(repr(error))
    ready.touch()
print(json.dumps({"opens": opens, "failures": failures[:3], "seen": sorted(seen)}))
"""


@pytest.fixture(scope="module")
def world() -> WorldOptions:
    """A small world in which things happen late."""
    return WorldOptions(recordings=24, megabytes=1, days=1, late_seconds=1)


def _tables(catalog: Path) -> list[str]:
    sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY 1"
    return [name for (name,) in ask(catalog, sql)]


def test_readers_never_fail_while_runs_publish(operator: Operator, sandbox: Sandbox, tmp_path: Path) -> None:
    """Four processes open the catalog and read every table as fast as they can during three runs: each open and query works."""
    run = ("run", *all_days(sandbox), "--json")
    assert operator.run(*run).code in (0, 3)
    catalog = operator.folder / "archive" / "archive.duckdb"
    stop = tmp_path / "stop"
    command = [sys.executable, "-c", READER, str(catalog), str(stop)]
    tables = ",".join(_tables(catalog))
    readers = []
    for number in range(READERS):
        ready = tmp_path / f"ready-{number}"
        readers.append(subprocess.Popen([*command, str(ready), tables], stdout=subprocess.PIPE, text=True))  # noqa: S603 -- ours
        wait_until(ready.exists, "a reader")
    published = set()
    try:
        for provider in PROVIDERS:
            assert operator.run("run", provider, *all_days(sandbox), "--json").code in (0, 3)
            published |= {str(row[0]) for row in ask(catalog, "SELECT published_at::VARCHAR FROM catalog_info")}
    finally:
        stop.touch()
        told = [json.loads(reader.communicate(timeout=SECONDS)[0]) for reader in readers]
    assert len(published) == len(PROVIDERS)
    assert [reader["failures"] for reader in told] == [[]] * READERS
    assert min(reader["opens"] for reader in told) > len(PROVIDERS)
    assert max(len(reader["seen"]) for reader in told) >= len(PROVIDERS), "the readers saw no new publication"


def test_the_columns_that_were_asked_for(demo: Demo) -> None:
    """Every table and column that analysts were promised exists, with the right counts."""
    catalog = demo.root / "archive.duckdb"
    assert set(REQUIRED) | {"catalog_info"} == set(_tables(catalog))
    for table, columns in REQUIRED.items():
        there = {name for (name, *_) in ask(catalog, f'DESCRIBE "{table}"')}
        assert columns <= there, table
    (coverage,) = ask(catalog, "SELECT sum(executions), sum(recordings), sum(archived) FROM coverage")
    (counted,) = ask(
        catalog,
        "SELECT (SELECT count(*) FROM executions), count(*), count(*) FILTER (state = 'archived') FROM recordings",
    )
    assert coverage == counted


def test_every_table_and_column_is_described(demo: Demo) -> None:
    """No table and no column is without a comment."""
    catalog = demo.root / "archive.duckdb"
    bare = ask(
        catalog,
        """
        SELECT table_name, NULL FROM duckdb_tables() WHERE NOT internal AND coalesce(comment, '') = ''
        UNION ALL SELECT view_name, NULL FROM duckdb_views() WHERE NOT internal AND coalesce(comment, '') = ''
        UNION ALL SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND coalesce(comment, '') = ''
        """,
    )
    assert bare == []


def test_the_archive_answers_in_another_place(demo: Demo, tmp_path: Path) -> None:
    """Copied elsewhere, with the file under another name, every view answers from there by one setting; attached too."""
    elsewhere = tmp_path / "another folder"
    shutil.copytree(demo.root, elsewhere)
    renamed = (elsewhere / "archive.duckdb").rename(elsewhere / "of-november.db")
    renamed.chmod(0o444)
    with duckdb.connect() as connection:
        connection.execute(f"SET VARIABLE archive_root = '{elsewhere}'")
        connection.execute(f"ATTACH '{renamed}' AS elsewhere (READ_ONLY)")
        for table in _tables(demo.root / "archive.duckdb"):
            order = "ORDER BY ALL" if table != "catalog_info" else ""
            here = ask(demo.root / "archive.duckdb", f'SELECT * FROM "{table}" {order}')  # noqa: S608 -- names of the catalog
            assert ask(renamed, f'SELECT * FROM "{table}" {order}') == here  # noqa: S608
            assert connection.execute(f'SELECT * FROM elsewhere."{table}" {order}').fetchall() == here  # noqa: S608


def test_the_catalog_can_be_made_again(demo: Demo, tmp_path: Path) -> None:
    """Deleted together with the compacted state, the catalog is made again from the rest, equal to the row."""
    operator = demo.copy(tmp_path / "work")
    root = operator.folder / "demo" / "archive"
    (root / "archive.duckdb").unlink()
    shutil.rmtree(root / "lake" / "recordings")
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "pipelines.definitions", "--select", "catalog"],
        cwd=operator.folder,
        env=operator.environment(ARCHIVE_ROOT="demo/archive", DAGSTER_HOME=str(operator.folder / "demo" / "dagster")),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for table in ("executions", "recordings", "recording_attempts", "coverage", *(spec.view for spec in PROVIDERS.values())):
        sql = f'SELECT * FROM "{table}"'  # noqa: S608 -- names of the catalog
        assert sorted(map(repr, ask(root / "archive.duckdb", sql))) == sorted(map(repr, ask(demo.root / "archive.duckdb", sql)))
