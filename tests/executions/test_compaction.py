"""Compaction of the executions lake: one file a day, old files gone after a while, never a row lost."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.executions import lake
from assets.executions.compaction import compact
from assets.executions.former import Former
from resources.errors import StorageError
from resources.storage import ArchiveStorage, open_storage
from tests.executions.specimen import DAY, NOON, SPEC, row

HOUR = timedelta(hours=1)
NO_GRACE = timedelta(seconds=-1)


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """Return an empty root."""
    return open_storage(str(tmp_path / "root"))


def ids(storage: ArchiveStorage, day: date = DAY) -> list[str]:
    """Return the ids in the partition."""
    return lake.read_partition(storage, SPEC, day)["execution_id"].to_pylist()


def files(storage: ArchiveStorage) -> list[str]:
    """Return the paths of all files, oldest generation first."""
    return [info.path for info in storage.list(lake.FOLDER)]


def age(storage: ArchiveStorage, path: str, hours: float) -> None:
    """Have a file be older, by the storage's clock."""
    place = storage.local_path(path)
    assert place is not None
    moment = place.stat().st_mtime - hours * 3600
    os.utime(place, (moment, moment))


def test_two_current_files_become_one(storage: ArchiveStorage) -> None:
    """What two runs wrote at once is one sorted file afterwards, and the report says so."""
    stale = lake.former(storage, SPEC, DAY)
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="b")])
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="a")], stale)
    report = compact(storage, SPEC, grace=HOUR)
    assert (report.days, report.rows, report.files_before, report.files_after) == ((DAY,), 2, 2, 3)
    assert len(lake.partition_files(storage, SPEC.name)[DAY]) == 1
    assert ids(storage) == ["a", "b"]
    assert report.bytes_after == sum(info.size for info in storage.list(lake.FOLDER))


def test_a_file_of_an_older_spec_is_written_again(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that an older version decoded is decoded again; one that is settled already is not even opened."""
    with monkeypatch.context() as patch:
        patch.setattr(lake, "fingerprint", lambda _: "0" * 16)
        lake.write_partition(storage, SPEC, DAY, [row(count=7)])
    other = DAY + timedelta(days=1)
    lake.write_partition(storage, SPEC, other, [row()])
    assert compact(storage, SPEC, grace=HOUR).days == (DAY,)
    assert lake.former(storage, SPEC, DAY).settled
    with monkeypatch.context() as patch:
        patch.setattr(storage, "read", None)
        assert compact(storage, SPEC, grace=HOUR).days == ()


def test_replaced_files_go_after_the_grace_period(storage: ArchiveStorage) -> None:
    """A file stays for as long as the grace period after it was replaced, however old it is itself."""
    for name in "abc":
        lake.write_partition(storage, SPEC, DAY, [row(execution_id=name)])
    first, second, third = files(storage)
    age(storage, first, 9)
    age(storage, second, 2)
    report = compact(storage, SPEC, grace=HOUR)
    assert files(storage) == [second, third]
    assert (report.files_before, report.files_after, report.days) == (3, 2, ())
    assert ids(storage) == ["a", "b", "c"]


def test_the_newest_file_is_the_clock(storage: ArchiveStorage) -> None:
    """A root whose clock stands years behind ours loses nothing early, and nothing at all while nobody writes."""
    for name in "ab":
        lake.write_partition(storage, SPEC, DAY, [row(execution_id=name)])
    for path in files(storage):
        age(storage, path, 24 * 900)
    compact(storage, SPEC, grace=HOUR)
    assert len(files(storage)) == 2
    lake.write_partition(storage, SPEC, DAY + timedelta(days=1), [row()])
    compact(storage, SPEC, grace=HOUR)
    assert len(files(storage)) == 2


def test_what_a_catalog_names_stays_and_brings_nothing_back(storage: ArchiveStorage) -> None:
    """A kept file stays, with all that replaced it, since it would count as current without them; the rest goes."""
    for name in "abcd":
        lake.write_partition(storage, SPEC, DAY, [row(execution_id=name)])
    first, second, third, last = files(storage)
    compact(storage, SPEC, grace=NO_GRACE, keep={second})
    assert files(storage) == [second, third, last]
    assert lake.partition_files(storage, SPEC.name)[DAY] == (last,)
    compact(storage, SPEC, grace=NO_GRACE)
    assert files(storage) == [last]
    assert first != last


def test_a_file_that_cannot_be_removed_is_said(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that refuses makes the compaction fail, without a row lost; the next one goes on."""
    for name in "abc":
        lake.write_partition(storage, SPEC, DAY, [row(execution_id=name)])

    def refuse(*_: object) -> None:
        raise StorageError("no deleting here")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete", refuse)
        with pytest.raises(StorageError):
            compact(storage, SPEC, grace=NO_GRACE)
    assert ids(storage) == ["a", "b", "c"]
    compact(storage, SPEC, grace=NO_GRACE)
    assert len(files(storage)) == 1


def test_an_empty_lake_has_nothing_to_compact(storage: ArchiveStorage) -> None:
    """Before the first read there is nothing to do, and nothing fails."""
    report = compact(storage, SPEC, grace=HOUR)
    assert (report.files_before, report.files_after, report.bytes_after) == (0, 0, 0)


class Killed(BaseException):
    """The process is gone."""


STEPS = st.lists(st.sampled_from(["write", "stale", "compact", "killed", "hold"]), min_size=2, max_size=9)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, survives=st.integers(0, 3))
def test_no_row_is_lost_whoever_works_beside(steps: list[str], survives: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Writers with old and new knowledge, compactions, some killed on the way: every row that was written is read."""
    storage = open_storage(str(tmp_path_factory.mktemp("root")))
    held: list[Former] = [lake.former(storage, SPEC, DAY)]
    written: set[str] = set()
    for number, step in enumerate(steps):
        item = row(NOON + timedelta(minutes=number), execution_id=f"e{number}")
        if step == "write":
            lake.write_partition(storage, SPEC, DAY, [item])
        elif step == "stale" and held:
            lake.write_partition(storage, SPEC, DAY, [item], held.pop())
        elif step == "hold":
            held.append(lake.former(storage, SPEC, DAY))
        elif step == "compact":
            compact(storage, SPEC, grace=NO_GRACE)
        elif step == "killed":
            compact_killed(storage, survives)
        if step == "write" or (step == "stale" and item.execution_id in ids(storage)):
            written.add(item.execution_id)
        assert set(ids(storage)) == written
    compact(storage, SPEC, grace=NO_GRACE)
    compact(storage, SPEC, grace=NO_GRACE)
    assert set(ids(storage)) == written
    assert len(files(storage)) == min(1, len(written))


def compact_killed(storage: ArchiveStorage, survives: int) -> None:
    """Compact, and die at the first step beyond ``survives`` that would change the root."""
    steps = 0

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object) -> object:
            nonlocal steps
            steps += 1
            if steps > survives:
                raise Killed
            return change(*args)

        return step

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(storage, "create_from", counted(storage.create_from))
        patch.setattr(storage, "delete", counted(storage.delete))
        compact(storage, SPEC, grace=NO_GRACE)
