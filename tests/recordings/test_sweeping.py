"""A run removes what dead runs left half-written: once, whichever job it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets.recordings.archiving import RunMemory, Selection, archive_day
from resources.errors import StorageError
from resources.storage.local import LocalStorage
from tests.conftest import Bench

PROVIDER = "feather"


def leave(bench: Bench) -> Path:
    """Leave a temporary file as a dead writer does: nobody holds its lock."""
    path = Path(bench.archive.settings.archive_root) / ".tmp" / "1-left"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half a recording")
    return path


def test_a_run_sweeps_before_it_archives(bench: Bench) -> None:
    """Also the retry job, which publishes no catalog, and also where nothing is due."""
    bench.discover(PROVIDER)
    left = leave(bench)
    day = bench.days(PROVIDER)[0]
    archive_day(bench.archive, PROVIDER, day, "run-1")
    assert not left.exists()
    leave(bench)
    assert archive_day(bench.archive, PROVIDER, day, "run-2").due == 0
    assert not left.exists()


def test_a_run_over_many_days_sweeps_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range of days is one run, and one look at the temporary folder."""
    bench.discover(PROVIDER)
    sweeps: list[LocalStorage] = []
    monkeypatch.setattr(LocalStorage, "sweep", lambda storage: sweeps.append(storage) or 0)
    memory = RunMemory()
    days = bench.days(PROVIDER)
    for day in days:
        archive_day(bench.archive, PROVIDER, day, "run-1", memory=memory)
    assert len(days) > 1
    assert len(sweeps) == 1


def test_a_dry_run_leaves_it(bench: Bench) -> None:
    """A dry run writes nothing, and removes nothing either."""
    bench.discover(PROVIDER)
    left = leave(bench)
    archive_day(bench.archive, PROVIDER, bench.days(PROVIDER)[0], "run-1", Selection(dry_run=True))
    assert left.exists()


def test_what_cannot_be_swept_stops_no_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tidying up is no reason to fail: the recordings are archived."""
    bench.discover(PROVIDER)

    def refuse(_: LocalStorage) -> int:
        msg = "permission denied"
        raise StorageError(msg)

    monkeypatch.setattr(LocalStorage, "sweep", refuse)
    for day in bench.days(PROVIDER):
        archive_day(bench.archive, PROVIDER, day, "run-1")
    assert "archived" in bench.states(PROVIDER).values()
