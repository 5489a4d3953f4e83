"""The command ``catalog``: where it is, how to open it, and a copy that needs no lake; from object storage as well."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from assets.catalog.columns import SHARED_TABLES
from assets.catalog.publication import publish
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import State
from pipelines.cli import cli
from resources.errors import ArchiveError
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage
from tests.catalog.lakes import NOW, append, day, event, put_executions
from tests.storage.seaweed import Seaweed, seaweed

__all__ = ["seaweed"]

TABLES = [*(table.name for table in SHARED_TABLES), *(spec.view for spec in PROVIDERS.values())]


def filled(url: str) -> ArchiveStorage:
    """Publish a small archive at a root, with a tail."""
    storage = open_storage(url)
    for provider in PROVIDERS:
        for number in range(3):
            put_executions(storage, provider, day(number), ["a", "b"])
            append(storage, [event(provider, name, State.ARCHIVED, on=day(number)) for name in "ab"])
        Ledger(storage).fold(provider)
        Ledger(storage).pack(provider)
    publish(storage, PROVIDERS.values(), NOW)
    append(storage, [event("feather", "late", on=day(2))])
    return storage


def run(root: str, *arguments: str) -> Result:
    """Run a command on a root."""
    return CliRunner().invoke(cli, arguments, env={"ARCHIVE_ROOT": root}, catch_exceptions=False)


def rows(file: Path, table: str) -> list[tuple[object, ...]]:
    """Return the rows of a table of a copy, opened as an analyst does."""
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()  # noqa: S608 -- names of the catalog


def test_a_copy_needs_no_lake(tmp_path: Path) -> None:
    """Every table of the copy has the rows that the catalog gave, the tail's among them, after the archive is gone."""
    root = tmp_path / "archive"
    filled(str(root))
    target = tmp_path / "mine" / "copy.duckdb"
    target.parent.mkdir()
    before = {table: rows(root / "archive.duckdb", table) for table in TABLES}
    told = json.loads(run(str(root), "catalog", "--copy", str(target), "--json").stdout)
    assert told["bytes"] == target.stat().st_size
    shutil.rmtree(root)
    assert {table: rows(target, table) for table in TABLES} == before
    assert told["rows"]["recordings"] == len(before["recordings"]) == 19
    assert [path.name for path in target.parent.iterdir()] == ["copy.duckdb"]
    with duckdb.connect(str(target), read_only=True) as connection:
        bare = "SELECT column_name FROM duckdb_columns() WHERE NOT internal AND coalesce(comment, '') = ''"
        assert connection.execute(bare).fetchall() == []
        of_day = connection.execute("SELECT * FROM recordings_of('feather', ?) ORDER BY ALL", [day(1)]).fetchall()
        asked = "SELECT * FROM recordings WHERE provider = 'feather' AND date = ? ORDER BY ALL"
        assert of_day == connection.execute(asked, [day(1)]).fetchall() != []


def test_a_part_is_copied(tmp_path: Path) -> None:
    """One provider, and days from and to, both included."""
    filled(str(tmp_path / "archive"))
    target = tmp_path / "copy.duckdb"
    part = ("--provider", "feather", "--from", "2026-11-02", "--to", "2026-11-02")
    run(str(tmp_path / "archive"), "catalog", "--copy", str(target), *part)
    for table in ("recordings", "executions", "recording_attempts", "execution_days", "coverage"):
        with duckdb.connect(str(target), read_only=True) as connection:
            found = connection.execute(f"SELECT DISTINCT provider, date FROM {table}").fetchall()  # noqa: S608 -- ours
        assert found == [("feather", day(1))], table


def test_a_copy_replaces_nothing(tmp_path: Path) -> None:
    """A file that is there stays as it is; a copy that cannot be made leaves none; a part without a copy is a mistake."""
    root = str(tmp_path / "archive")
    filled(root)
    target = tmp_path / "copy.duckdb"
    target.write_bytes(b"mine")
    with pytest.raises(Exception, match="exists already"):
        run(root, "catalog", "--copy", str(target))
    assert target.read_bytes() == b"mine"
    with pytest.raises(ArchiveError, match=r"there is no folder .*/missing: make it first"):
        run(root, "catalog", "--copy", str(tmp_path / "missing" / "copy.duckdb"))
    wrong = run(root, "catalog", "--copy", str(tmp_path / "none.duckdb"), "--from", "2026-11-03", "--to", "2026-11-02")
    assert (wrong.exit_code, "--from 2026-11-03 is after --to 2026-11-02" in wrong.output) == (2, True)
    assert run(root, "catalog", "--from", "2026-11-02").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "copy.duckdb"]


def test_the_command_says_how_to_open_it(tmp_path: Path) -> None:
    """The statements that it prints open the catalog, wherever the root is."""
    root = str(tmp_path / "it's here")
    with pytest.raises(Exception, match=r"no archive at|no catalog in"):
        run(root, "catalog")
    filled(root)
    told = json.loads(run(root, "catalog", "--json").stdout)
    with duckdb.connect() as connection:
        for statement in told["sql"]:
            connection.execute(statement)
        assert connection.execute("SELECT count(*) FROM archive.recordings").fetchall() == [(19,)]
    assert told["sql"][-1] in run(root, "catalog").stdout


@pytest.mark.s3
def test_object_storage_is_read_without_an_extension(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On S3 ``query`` and ``catalog --copy`` read catalog, lake and tail through the archive's own client."""
    seaweed.use(monkeypatch)
    root = f"s3://{seaweed.bucket}/{uuid.uuid4().hex}/archive"
    storage = filled(root)
    publish(storage, PROVIDERS.values(), NOW)
    append(storage, [event("feather", "later", on=day(2))])
    counted = json.loads(
        run(root, "query", "SELECT provider, count(*) AS n FROM recordings GROUP BY ALL ORDER BY 1", "--json").stdout
    )
    assert [row["n"] for row in counted["rows"]] == [6, 8, 6]
    target = tmp_path / "copy.duckdb"
    run(root, "catalog", "--copy", str(target))
    assert len(rows(target, "recordings")) == 20
    assert len(rows(target, "feather_calls")) == 6
    told = json.loads(run(root, "catalog", "--json").stdout)
    assert told["path"].startswith(f"{root}/catalog/archive-")
    assert "INSTALL httpfs; LOAD httpfs;" in told["sql"]
    assert [line for line in told["sql"] if line.startswith("CREATE SECRET") and "KEY" not in line]
    assert told["sql"][-1] == f"ATTACH '{told['path']}' AS archive (READ_ONLY);"
