"""Packing the states of past months: the same answers from few files, also when a day of such a month changes again."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from assets.recordings import names
from assets.recordings.compaction import CompactionReport, compact, fold
from assets.recordings.events import Event, winners
from assets.recordings.ledger import Ledger, places
from assets.recordings.ledger.months import SETTLED
from assets.recordings.lifecycle import OPEN_STATES, State
from assets.recordings.manifest import publish_manifest
from resources.errors import StorageError
from resources.failpoints import Failpoint, hooked
from resources.storage import open_storage
from tests.recordings.compacting import check_sums, faults, files, killed_at, rows
from tests.recordings.test_ledger import DAY, NOW, event

AUGUST = [date(2026, 8, 30), date(2026, 8, 31)]
SEPTEMBER = [date(2026, 9, 1), date(2026, 9, 2), date(2026, 9, 30)]
OCTOBER = [date(2026, 10, 1), date(2026, 10, 2)]
DAYS = [*AUGUST, *SEPTEMBER, *OCTOBER, DAY]
PACKED = (date(2026, 8, 1), date(2026, 9, 1))
EVERY_MONTH = timedelta(days=-31)
NO_GRACE = timedelta(0)
DAY_LONG = timedelta(days=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return an empty ledger on local disk."""
    return Ledger(open_storage(str(tmp_path / "root")))


def fill(ledger: Ledger) -> None:
    """Append recordings of four months; October and November are not over for long."""
    for day in DAYS:
        ledger.append([event(f"{name}{day}", day=day) for name in "ba"], NOW)
        ledger.append([event(f"b{day}", State.ARCHIVED, seq=2, day=day)], NOW)


def tidy(ledger: Ledger, grace: timedelta = NO_GRACE, settled: timedelta = SETTLED) -> CompactionReport:
    """Fold and compact, as the schedule does."""
    fold(ledger, "feather")
    return compact(ledger, "feather", grace=grace, shown=None, settled=settled)


def settle(ledger: Ledger) -> None:
    """Compact until nothing is left to do or to remove."""
    for _ in range(3):
        tidy(ledger)


def told(ledger: Ledger) -> list[Any]:
    """Return what a ledger says of everything, by every way that there is to ask."""
    fresh = Ledger(ledger.storage)
    return [
        *(fresh.read_day("feather", day) for day in DAYS),
        *(fresh.find("feather", f"{name}{day}") for day in DAYS for name in "ab"),
        fresh.read_open("feather"),
        fresh.standing("feather"),
        fresh.state_table("feather").to_pylist(),
        fresh.days("feather"),
        rows(fresh),
    ]


def states(ledger: Ledger) -> list[str]:
    """Return the state files that the snapshot names, each once."""
    return sorted({part.state for part in ledger.partitions("feather").values()})


def test_a_month_that_is_over_for_long_becomes_one_file(ledger: Ledger) -> None:
    """Its days are read from it one by one; younger months keep a file for each day; done again, nothing happens."""
    fill(ledger)
    before = told(ledger)
    report = tidy(ledger)
    assert report.months == PACKED
    assert (report.files_before, report.files_after) == (3 * len(DAYS), 2 * len(DAYS) + len(PACKED))
    assert [places.is_month(path) for path in states(ledger)] == [False] * 3 + [True] * 2
    assert told(ledger) == before
    settle(ledger)
    assert files(ledger, names.STATES) == states(ledger)
    assert tidy(ledger).months == ()
    assert told(ledger) == before
    assert faults(ledger) == {}
    check_sums(ledger)


def test_a_row_group_is_about_one_day(ledger: Ledger) -> None:
    """The file is sorted by day and id, and one day is read without the others."""
    fill(ledger)
    tidy(ledger)
    path = ledger.storage.local_path(next(path for path in states(ledger) if "2026-09" in path and places.is_month(path)))
    file = pq.ParquetFile(path)
    groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    assert [set(group["date"].to_pylist()) for group in groups] == [{day} for day in SEPTEMBER]
    assert all(group["execution_id"].to_pylist() == sorted(group["execution_id"].to_pylist()) for group in groups)


def test_an_event_of_a_packed_month_costs_its_day(ledger: Ledger) -> None:
    """The fold writes that day alone; the others stay where they are, and the next compaction makes one file of them again."""
    fill(ledger)
    settle(ledger)
    old = states(ledger)
    day = SEPTEMBER[1]
    ledger.append([event(f"a{day}", State.FAILED, seq=2, day=day)], NOW)
    before = told(ledger)
    ledger.fold("feather")
    assert told(ledger) == before
    (own,) = set(states(ledger)) - set(old)
    assert f"date={day}" in own
    assert set(old) < set(states(ledger)), "of September, two days are where they were"
    report = tidy(ledger)
    assert report.months == (SEPTEMBER[0],)
    assert told(ledger) == before
    settle(ledger)
    assert files(ledger, names.STATES) == states(ledger)
    assert len(states(ledger)) == len(old)
    assert told(ledger) == before
    assert faults(ledger) == {}


def test_a_month_goes_by_the_newest_day(ledger: Ledger) -> None:
    """A month counts as past when the newest day is more than the settled time behind its end; one file is left alone."""
    for day in (date(2026, 9, 29), date(2026, 9, 30), date(2026, 8, 1), date(2026, 10, 31)):
        ledger.append([event(f"a{day}", day=day)], NOW)
    assert tidy(ledger).months == ()
    ledger.append([event("later", day=date(2026, 11, 1))], NOW)
    assert tidy(ledger).months == (date(2026, 9, 1),)
    ledger.append([event("new day of it", day=date(2026, 9, 2))], NOW)
    assert tidy(ledger).months == (date(2026, 9, 1),)
    assert tidy(ledger, settled=EVERY_MONTH).months == ()


def test_the_former_files_stay_for_the_grace_period(ledger: Ledger) -> None:
    """Days' own files, and a month's that no day is read from any more; one that is named goes never."""
    fill(ledger)
    tidy(ledger, DAY_LONG)
    snapshot = ledger.snapshot("feather")
    assert snapshot is not None
    own = {path for each in snapshot.leaving if (path := each.path).startswith(names.STATES)}
    assert len(own) == len(AUGUST) + len(SEPTEMBER)
    assert own < set(files(ledger, names.STATES))
    settle(ledger)
    assert not own & set(files(ledger, names.STATES))
    (month,) = {part.state for day, part in ledger.partitions("feather").items() if day in AUGUST}
    for day in AUGUST:
        ledger.append([event("new", day=day)], NOW)
        fold(ledger, "feather")
        snapshot = ledger.snapshot("feather")
        assert snapshot is not None
        assert (month in {each.path for each in snapshot.leaving}) == (day == AUGUST[-1])
        compact(ledger, "feather", grace=DAY_LONG, shown=None, settled=timedelta(days=999))
        assert month in files(ledger, names.STATES)
    settle(ledger)
    assert month not in files(ledger, names.STATES)


POINTS = [
    Failpoint.MONTH_WRITTEN,
    Failpoint.FOLD_WRITTEN,
    Failpoint.FOLD_POINTED,
    Failpoint.COMPACTION_WRITTEN,
    Failpoint.RETIRED,
]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("turn", [1, 2])
def test_killed_anywhere_readers_are_right_and_the_next_one_ends_it(ledger: Ledger, point: Failpoint, turn: int) -> None:
    """With a month that is packed already and changed again, and one that is not packed yet."""
    for day in AUGUST:
        ledger.append([event(f"a{day}", day=day)], NOW)
    tidy(ledger, settled=EVERY_MONTH)
    fill(ledger)
    before = told(ledger)
    with killed_at(point, turn):
        settle(ledger)
    assert told(ledger) == before
    for _ in range(3):
        tidy(Ledger(ledger.storage))
        assert told(ledger) == before
    assert files(ledger, names.STATES) == states(ledger)
    assert len(states(ledger)) == 2 + len(OCTOBER) + 1
    assert faults(ledger) == {}
    check_sums(ledger)


@pytest.mark.parametrize("other", ["compaction", "fold"])
def test_of_two_at_once_one_is_first(ledger: Ledger, other: str) -> None:
    """The other's month is thrown away, and done again on what the first one left; no snapshot is lost."""
    fill(ledger)
    tidy(ledger, settled=timedelta(days=999))
    before, turns = told(ledger), list[int]()

    def interrupt(at: Failpoint) -> None:
        if at is Failpoint.MONTH_WRITTEN and not turns:
            turns.append(1)
            rival = Ledger(ledger.storage)
            if other == "compaction":
                assert tidy(rival).months == PACKED
            else:
                rival.append([event(f"a{AUGUST[0]}", State.FAILED, seq=2, day=AUGUST[0])], NOW)
                rival.fold("feather")

    with hooked(interrupt):
        done = ledger.pack_months("feather")
    assert done == ([] if other == "compaction" else list(PACKED))
    if other == "compaction":
        assert told(ledger) == before
    else:
        ((_, found),) = ledger.find("feather", f"a{AUGUST[0]}").items()
        assert found.life.state is State.FAILED
    settle(ledger)
    assert files(ledger, names.STATES) == states(ledger)
    assert [places.is_month(path) for path in states(ledger)] == [False] * 3 + [True] * 2


def test_a_month_that_was_deleted_is_made_again(ledger: Ledger) -> None:
    """For a reader at once, from the events; for good by `rebuild`, whose next compaction packs it again."""
    fill(ledger)
    settle(ledger)
    before = told(ledger)
    for path in states(ledger):
        ledger.storage.delete(path)
    assert told(ledger) == before
    ledger.refold("feather")
    for day in DAYS:
        publish_manifest(ledger, "feather", day)
    assert told(ledger) == before
    assert tidy(ledger).months == PACKED
    assert told(ledger) == before
    assert faults(ledger) == {}


def test_a_damaged_month_is_named(ledger: Ledger) -> None:
    """Half a file, and one that lacks a day's rows, are never taken for a day without recordings."""
    fill(ledger)
    settle(ledger)
    path = next(path for path in states(ledger) if "2026-09" in path)
    data = ledger.storage.read(path)
    ledger.storage.write(path, data[: len(data) // 2])
    with pytest.raises(StorageError, match=f"{path} .*is damaged"):
        ledger.read_day("feather", SEPTEMBER[0])
    ledger.storage.write(path, data)
    ledger.read_day("feather", SEPTEMBER[0])
    place = ledger.storage.local_path(path)
    table = pq.ParquetFile(place).read()
    pq.write_table(table.slice(2), place)
    with pytest.raises(StorageError, match=f"{path} .*is damaged .*0 of 2 recordings of {SEPTEMBER[0]}"):
        ledger.read_day("feather", SEPTEMBER[0])


def test_a_damaged_state_leaves_the_rest_of_the_compaction_done(ledger: Ledger) -> None:
    """It is named; events are compacted and old files are gone all the same."""
    fill(ledger)
    tidy(ledger, settled=timedelta(days=999))
    ledger.append([event("new")], NOW)
    path = ledger.partitions("feather")[AUGUST[0]].state
    ledger.storage.write(path, b"no Parquet")
    with pytest.raises(StorageError, match=path):
        tidy(ledger)
    assert files(ledger, names.TAIL) == []


EVENTS = st.builds(
    event,
    name=st.sampled_from("abc"),
    state=st.sampled_from(list(State)),
    day=st.sampled_from(DAYS[1:4]),
    seq=st.integers(1, 4),
    epoch=st.integers(0, 1),
)
STEPS = st.lists(st.one_of(st.lists(EVENTS, min_size=1, max_size=5), st.sampled_from(["fold", "tidy", "months"])), max_size=8)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_packing_changes_no_answer(tmp_path_factory: pytest.TempPathFactory, steps: list[list[Event] | str]) -> None:
    """Whatever is appended, folded and packed, in any order, the state of a recording is its winning event."""
    ledger, written = Ledger(open_storage(str(tmp_path_factory.mktemp("root")))), list[Event]()
    for step in steps:
        if step == "fold":
            ledger.fold("feather")
        elif step == "months":
            ledger.pack_months("feather", EVERY_MONTH)
        elif isinstance(step, str):
            tidy(ledger, settled=EVERY_MONTH)
        else:
            new = [replace(each, run_id=f"run-{len(written)}") for each in step]
            ledger.append(new, NOW)
            written += new
        for day in DAYS[1:4]:
            assert ledger.read_day("feather", day) == winners(each for each in written if each.day == day)
    ledger.fold("feather")
    counted = ledger.standing("feather").states
    assert sum(counted.get(state.value, 0) for state in OPEN_STATES) == ledger.open_table("feather").num_rows
