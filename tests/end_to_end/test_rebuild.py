"""``recording-archive rebuild`` on the demo's archive: everything derived is deleted, and comes back to the row."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.end_to_end.command import Operator
from tests.end_to_end.conftest import Demo

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(demo: Demo, tmp_path: Path) -> tuple[Operator, Path]:
    """Return an operator of a copy of the demo's archive, published once more by this command, and its root."""
    demo.copy(tmp_path / "work")
    operator = Operator(tmp_path / "work", {"ARCHIVE_ROOT": "demo/archive"})
    return operator, operator.folder / "demo" / "archive"


def tables(root: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table and view of the catalog, but for the moment at which it was made."""
    with duckdb.connect(str(root / "archive.duckdb"), read_only=True) as connection:
        connection.execute(f"SET VARIABLE archive_root = '{root}'")
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
        names = [row[0] for row in connection.execute(sql).fetchall()]
        order = "ORDER BY ALL"
        return {
            name: connection.execute(f"SELECT * FROM {name} {order}").fetchall()  # noqa: S608 -- our own tables
            for name in names
            if name != "catalog_info"
        }


def manifests(root: Path) -> dict[str, bytes]:
    """Return the bytes of every manifest."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in (root / "manifests").rglob("*.txt")}


def test_what_is_derived_comes_back_to_the_row(copied: tuple[Operator, Path]) -> None:
    """State, manifests and catalog are deleted: after one command every table and every manifest is as before."""
    operator, root = copied
    before, sums = tables(root), manifests(root)
    assert {"recordings", "recording_attempts", "coverage", "executions", "feather_calls"} <= before.keys()
    shutil.rmtree(root / "lake" / "recordings")
    shutil.rmtree(root / "manifests")
    (root / "archive.duckdb").unlink()
    ended = operator.run("rebuild", "--json")
    assert ended.code == 0, ended.text
    assert {lane["rebuilt"] for lane in ended.json["providers"].values()} == {0}
    assert tables(root) == before
    assert manifests(root) == sums
    assert operator.run("verify", "--all", "--json").json["faults"] == []


def test_with_the_events_lost_as_well_what_is_archived_stays_archived(copied: tuple[Operator, Path]) -> None:
    """Every archived recording is so again, with all its facts; what was open is known from the executions."""
    operator, root = copied
    facts = "provider, execution_id, leg, date, state, attempts, archived_at, path, bytes, sha256, content_type"

    def archived() -> list[tuple[Any, ...]]:
        with duckdb.connect(str(root / "archive.duckdb"), read_only=True) as connection:
            connection.execute(f"SET VARIABLE archive_root = '{root}'")
            sql = f"SELECT {facts} FROM recordings WHERE state = 'archived' ORDER BY ALL"  # noqa: S608 -- our own columns
            return connection.execute(sql).fetchall()

    before, known = archived(), len(tables(root)["recordings"])
    assert before
    for tree in ("lake/recording_tail", "lake/recordings", "lake/ledger", "manifests"):
        shutil.rmtree(root / tree)
    (root / "archive.duckdb").unlink()
    ended = operator.run("rebuild")
    assert ended.code == 0, ended.text
    assert "from sidecars" in ended.out
    assert archived() == before
    assert len(tables(root)["recordings"]) == known
    assert operator.run("verify", "--json").code == 0
