"""What people are told where the catalog or a file of the lake cannot be read, and that it helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli import cli
from resources.errors import ArchiveError
from tests.catalog.test_copy import filled, run

ASK = {
    "recordings": "SELECT count(DISTINCT path) FROM recordings",
    "executions": "SELECT count(DISTINCT created_at) FROM executions",
}


def first_file(root: Path, folder: str) -> Path:
    """Return a file of the lake."""
    return min((root / "lake" / folder).rglob("*.parquet"))


def told(root: Path, *arguments: str) -> str:
    """Return the error of a command."""
    with pytest.raises(ArchiveError) as caught:
        run(str(root), *arguments)
    return str(caught.value)


def command(root: Path, tmp_path: Path, *arguments: str) -> int:
    """Return the exit code of a command that Dagster has a part in."""
    env = {"ARCHIVE_ROOT": str(root), "DAGSTER_HOME": str(tmp_path / "home")}
    keys = dict.fromkeys(("ASTEROID_API_KEY", "FEATHER_API_KEY", "KATAVEN_API_KEY"))
    return CliRunner().invoke(cli, arguments, env=env | keys, catch_exceptions=False).exit_code


@pytest.mark.parametrize("folder", list(ASK))
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:100])], ids=["gone", "cut"])
def test_a_file_of_the_lake_that_cannot_be_read(tmp_path: Path, folder: str, damage: Callable[[Path], object]) -> None:
    """``query`` and ``catalog --copy`` name the file and the remedy; with the file out of the way, the remedy is one."""
    root = tmp_path / "archive"
    filled(str(root))
    file = first_file(root, folder)
    damage(file)
    for arguments in (("query", ASK[folder]), ("catalog", "--copy", str(tmp_path / "copy.duckdb"))):
        text = told(root, *arguments)
        assert str(file.relative_to(root)) in text
        assert "`recording-archive rebuild`" in text
        assert ("`recording-archive run PROVIDER --date DAY`" in text) == (folder == "executions")
    file.unlink(missing_ok=True)
    assert command(root, tmp_path, "rebuild") == 0
    assert run(str(root), "query", ASK[folder]).exit_code == 0


@pytest.mark.parametrize("left", [0, 100, 20_000])
def test_a_damaged_catalog_is_published_anew_without_a_key(tmp_path: Path, left: int) -> None:
    """A truncated file is named with the command that makes it anew, and so is one that is not there."""
    root = tmp_path / "archive"
    filled(str(root))
    catalog = root / "archive.duckdb"
    catalog.write_bytes(catalog.read_bytes()[:left])
    for arguments in (("query", ASK["recordings"]), ("catalog", "--copy", str(tmp_path / "copy.duckdb"))):
        text = told(root, *arguments)
        assert str(catalog) in text
        assert "`recording-archive compact` publishes it anew" in text
    if left:
        return
    catalog.unlink()
    assert "`recording-archive compact` makes one without any key" in told(root, "query", "SELECT 1")
    assert "`recording-archive compact` makes one without any key" in told(root, "catalog")
    assert command(root, tmp_path, "compact") == 0
    assert run(str(root), "query", ASK["recordings"]).exit_code == 0


def test_bad_sql_has_no_remedy(tmp_path: Path) -> None:
    """DuckDB's own words are enough where the files are good."""
    root = tmp_path / "archive"
    filled(str(root))
    text = told(root, "query", "SELECT nothing FROM recordings")
    assert "rebuild" not in text
    assert "compact" not in text
