"""What lies in an archive on local disk, compared with what the sandbox says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from assets.recordings.names import safe_id

Row = Mapping[str, Any]
Place = tuple[str, str, str, str]
"""Provider, date, safe id and leg of a recording."""


def place_of(row: Row) -> Place:
    """Return where a recording of the truth lies."""
    return (row["provider"], row["date"], safe_id(row["execution_id"]), row["leg"])


def media_files(root: Path) -> list[Path]:
    """Return the recordings of an archive, without their sidecars."""
    folder = root / "recordings"
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json") if folder.exists() else []


def place_at(root: Path, path: Path) -> Place:
    """Return which recording a file is, by its place."""
    provider, day, name, _ = path.relative_to(root / "recordings").parts
    return (provider.removeprefix("provider="), day.removeprefix("date="), name, path.stem)


def assert_whole(root: Path, truth: Iterable[Row]) -> dict[Place, Path]:
    """Assert that each visible recording is whole, the right one, and there once; return where each one is."""
    expected = {place_of(row): row["sha256"] for row in truth}
    found: dict[Place, Path] = {}
    for path in media_files(root):
        place = place_at(root, path)
        assert place not in found, f"twice: {path}"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == expected[place], f"not the recording: {path}"
        found[place] = path
    for path in (root / "lake").rglob("*.parquet"):
        pq.read_table(path)
    return found


def assert_right(root: Path, truth: Iterable[Row]) -> None:
    """Assert that an archive holds what the truth says: states, copies and sidecars, and nothing else."""
    rows = {place_of(row): row for row in truth}
    found = assert_whole(root, rows.values())
    states = {
        (provider, str(day), safe_id(name), leg): state
        for provider, day, name, leg, state in ask(
            root / "archive.duckdb", "SELECT provider, date, execution_id, leg, state FROM recordings"
        )
    }
    assert states.keys() == rows.keys()
    for place, state in states.items():
        accepted = {*rows[place]["final_states"]}
        assert state in accepted | ({"not_ready"} if "pending" in accepted else set()), place
        assert (state == "archived") == (place in found), place
        assert state != "archived" or found[place].with_suffix(".json").exists(), place


def ask(catalog: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows that a catalog gives; the lake is beside it, wherever it was published."""
    with duckdb.connect(str(catalog), read_only=True) as connection:
        connection.execute(f"SET VARIABLE archive_root = '{catalog.parent}'")
        return connection.execute(sql).fetchall()
