"""Folding and compacting: the same answers from fewer files, whatever is going on beside it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.recordings import names
from assets.recordings.compaction import CompactionReport, compact
from assets.recordings.events import Event, to_table
from assets.recordings.ledger import Ledger, places
from assets.recordings.lifecycle import State
from assets.recordings.manifest import publish_manifest, read_manifest
from resources.errors import StorageError
from resources.failpoints import Failpoint
from resources.storage import open_storage
from tests.recordings.compacting import check_sums, faults, files, killed_at, rows
from tests.recordings.test_ledger import COPY, DAY, NOW, event

NEXT = DAY + timedelta(days=1)
NO_GRACE = timedelta(0)
DAY_LONG = timedelta(days=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return an empty ledger on local disk."""
    return Ledger(open_storage(str(tmp_path / "root")))


def fill(ledger: Ledger) -> list[Event]:
    """Append some files of two days by two writers, and return their events."""
    other = Ledger(ledger.storage)
    written: list[Event] = []
    for number, name in enumerate("abcdefgh"):
        events = [event(name), event(f"{name}2", day=NEXT), event(name, State.NOT_READY, seq=2)]
        (other if number % 3 == 0 else ledger).append(events, NOW + timedelta(seconds=number))
        written += events
    return written


def archived(name: str, *, seq: int = 3) -> Event:
    """Return the event of an archived recording, with a path of its own."""
    made = event(name, State.ARCHIVED, seq=seq)
    return replace(made, copy=replace(COPY, path=f"recordings/provider=feather/date={DAY}/{name}/main.mp4"))


def tidy(ledger: Ledger, grace: timedelta = NO_GRACE) -> CompactionReport:
    """Fold, write the manifests as a publication does, and compact."""
    days = ledger.tail_days("feather")
    for day in sorted(days):
        publish_manifest(ledger, "feather", day)
    ledger.fold("feather")
    return compact(ledger, "feather", grace=grace, shown=None)


def test_the_same_events_from_one_file_a_day(ledger: Ledger) -> None:
    """Sixteen files become one for each day, sorted; what the ledger says does not change, to the row; and again is harmless."""
    fill(ledger)
    before, state = rows(ledger), ledger.read_day("feather", DAY)
    report = tidy(ledger)
    assert (report.days, report.files_before, report.files_after) == ((DAY, NEXT), 18, 4)
    assert (rows(ledger), ledger.read_day("feather", DAY)) == (before, state)
    assert files(ledger, names.TAIL) == []
    (history,) = ledger.history_files("feather", DAY)
    table = pq.read_table(ledger.storage.local_path(history) or "", schema=None)
    order = list(zip(table["execution_id"].to_pylist(), table["seq"].to_pylist(), strict=True))
    assert order == sorted(order)
    assert report.rows == 24
    again = tidy(ledger)
    assert (again.days, again.removed, again.files_after) == ((), 0, 4)
    assert faults(ledger) == {}
    check_sums(ledger)


def test_later_events_join_the_compacted_ones(ledger: Ledger) -> None:
    """A compaction takes over what the former one had, and the former file leaves."""
    fill(ledger)
    tidy(ledger)
    for number in range(3):
        ledger.append([archived("abc"[number])], NOW + timedelta(hours=1))
        before = rows(ledger)
        report = tidy(ledger)
        assert report.days == (DAY,)
        assert rows(ledger) == before
        assert faults(ledger) == {}
        check_sums(ledger)
    assert len(files(ledger, names.EVENTS)) == 2
    assert {key.execution_id for key in ledger.read_open("feather") if key.execution_id in "abc"} == set()


def test_replaced_files_stay_for_the_grace_period(ledger: Ledger) -> None:
    """Who reads a replaced file goes on reading it; it goes once it was replaced for long enough, by the storage's clock."""
    fill(ledger)
    report = tidy(ledger, DAY_LONG)
    assert report.removed == 0
    assert len(files(ledger, names.TAIL)) == 16
    assert ledger.tail_days("feather") == set(), "though they lie in its folder"
    before = rows(ledger)
    check_sums(ledger)
    snapshot = ledger.snapshot("feather")
    assert snapshot is not None
    for each in snapshot.leaving:
        place = ledger.storage.local_path(each.path)
        assert place is not None
        assert place.exists()
    path = ledger.storage.local_path(f"{places.ledger_folder('feather')}/clock")
    assert path is not None
    clock = type(ledger.storage).info

    def later(storage: object, asked: str) -> object:
        info = clock(storage, asked)  # type: ignore[arg-type]
        return replace(info, modified=info.modified + DAY_LONG) if asked.endswith("/clock") else info

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(ledger.storage), "info", later)
        assert tidy(ledger, DAY_LONG).removed == 16 + 1  # the empty list of days before is none
    assert rows(ledger) == before
    check_sums(ledger)
    assert faults(ledger) == {}


def test_what_the_catalog_shows_stays(ledger: Ledger) -> None:
    """However old: files that the published catalog names go only when a newer one is published."""
    fill(ledger)
    ledger.fold("feather")
    shown = ledger.generation("feather")
    assert compact(ledger, "feather", grace=NO_GRACE, shown=shown).removed == 0
    assert len(files(ledger, names.TAIL)) == 16
    assert compact(ledger, "feather", grace=NO_GRACE, shown=ledger.generation("feather")).removed > 0
    assert files(ledger, names.TAIL) == []


POINTS = [
    Failpoint.FOLD_WRITTEN,
    Failpoint.FOLD_POINTED,
    Failpoint.COMPACTION_WRITTEN,
    Failpoint.MANIFEST_ENCODED,
    Failpoint.RETIRED,
]


@pytest.mark.parametrize(("point", "turn"), [*((point, 1) for point in POINTS), *((point, 2) for point in POINTS[:4])])
def test_killed_anywhere_readers_are_right_and_the_next_one_ends_it(ledger: Ledger, point: Failpoint, turn: int) -> None:
    """What is left says the same as before, verifies, and a second run comes to the same files as an undisturbed one."""
    fill(ledger)
    tidy(ledger)
    ledger.append([archived("a"), archived("b")], NOW)
    ledger.append([event("new", day=NEXT)], NOW)
    before, state = rows(ledger), ledger.read_day("feather", DAY)
    opened = ledger.read_open("feather")
    with killed_at(point, turn):
        tidy(ledger)
    for look in range(2):
        fresh = Ledger(ledger.storage)
        assert rows(fresh) == before
        assert fresh.read_day("feather", DAY) == state
        assert fresh.read_open("feather") == opened
        assert {path: words for path, words in faults(fresh).items() if "manifest" not in path} == {}
        if look == 0:
            tidy(fresh)
    assert (len(files(ledger, names.TAIL)), len(files(ledger, names.EVENTS)), len(files(ledger, names.STATES))) == (0, 2, 2)
    assert faults(ledger) == {}
    check_sums(ledger)


def test_beside_writers_and_readers_nothing_is_wrong(ledger: Ledger) -> None:  # noqa: C901 -- five threads, each a few lines
    """Writers append, two fold and compact with hardly a grace, one reads: every event is there once, at every moment."""
    count, problems, done = 40, list[BaseException](), threading.Event()

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as problem:  # noqa: BLE001 -- shown by the main thread
                problems.append(problem)

        return run

    def write(writer: int) -> None:
        mine = Ledger(ledger.storage)
        for number in range(count):
            mine.append([event(f"w{writer}-{number}", day=DAY + timedelta(days=number % 3))], NOW)

    def compacting() -> None:
        mine = Ledger(ledger.storage)
        while not done.is_set():
            mine.fold("feather")
            compact(mine, "feather", grace=timedelta(seconds=1), shown=None)

    def read() -> None:
        mine, seen = Ledger(ledger.storage), 0
        while not done.is_set():
            events = mine.events_table("feather")["event_id"].to_pylist()
            assert len(events) == len(set(events))
            assert len(mine.read_open("feather")) >= seen
            seen = len(events)

    writers = [threading.Thread(target=guarded(lambda writer=writer: write(writer))) for writer in range(2)]
    others = [threading.Thread(target=guarded(work)) for work in (compacting, compacting, read)]
    for thread in writers + others:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in others:
        thread.join()
    assert problems == []
    tidy(ledger)
    assert len(ledger.read_open("feather")) == 2 * count
    assert len(rows(ledger)) == 2 * count
    assert faults(ledger) == {}


# -- what a compacted file proves


def edit(ledger: Ledger, path: str, change: Callable[[pa.Table], pa.Table], *, keep_metadata: bool = True) -> None:
    """Write a file of compacted events again, with a change."""
    place = ledger.storage.local_path(path)
    assert place is not None
    table = pq.ParquetFile(place).read()
    changed = change(table)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata if keep_metadata else None), place)


def with_cell(column: str, row: int, value: object) -> Callable[[pa.Table], pa.Table]:
    """Return the change of one cell."""

    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))

    return change


CHANGES: dict[str, tuple[Callable[[pa.Table], pa.Table], bool, str]] = {
    "a cell": (with_cell("attempts", 3, 99), True, "edited: event"),
    "a row left out": (lambda table: table.slice(1), True, "and 1 are there|and 2 are there|and 0 are there"),
    "a row twice": (lambda table: pa.concat_tables([table, table.slice(0, 1)]), True, "are there"),
    "a digest": (with_cell("digest", 2, b"\0" * 8), True, "edited"),
    "another source": (
        with_cell("file", 0, f"{names.TAIL}/provider=feather/{DAY}_x.parquet"),
        True,
        "there|no event file",
    ),
    "by another tool": (lambda table: table, False, "by somebody else"),
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_a_changed_file_of_compacted_events_is_named(ledger: Ledger, what: str) -> None:
    """As an event file would be, with the row where that can be told; and it is not compacted any further."""
    fill(ledger)
    tidy(ledger)
    (path,) = ledger.history_files("feather", DAY)
    change, keeps, words = CHANGES[what]
    edit(ledger, path, change, keep_metadata=keeps)
    found = faults(ledger)
    assert found.keys() >= {path}
    assert re.search(words, " ".join(found[path]))
    if what == "a cell":
        assert "number 2 of feather/b/main" in found[path][0] or "number 1 of feather/b/main" in found[path][0]
    ledger.append([event("later")], NOW)
    report = tidy(ledger)
    assert report.days == ()
    assert report.left[0][0] == path
    assert len(ledger.history_files("feather", DAY)) == 1


def test_damaged_and_removed_compactions_are_named_and_rebuild_salvages(ledger: Ledger) -> None:
    """Bytes that are no Parquet, and a file that is gone: named by verify; the state, which the fold still has, is not lost."""
    fill(ledger)
    tidy(ledger)
    state = ledger.read_day("feather", DAY)
    (path,) = ledger.history_files("feather", DAY)
    data = ledger.storage.read(path)
    ledger.storage.write(path, data[: len(data) // 2])
    assert "damaged" in faults(ledger)[path][0]
    ledger.storage.delete(path)
    assert "removed" in faults(ledger)[path][0]
    assert ledger.read_day("feather", DAY) == state
    ledger.storage.create(path, data)
    assert faults(ledger) == {}


def test_the_chain_goes_on_through_files_that_are_gone(ledger: Ledger) -> None:
    """The writer's next file knows the one before, which only the compacted events stand for: a wrong account of it is found."""
    ledger.append([event("a")], NOW)
    tidy(ledger)
    ledger.append([event("b", day=NEXT)], NOW)
    assert faults(ledger) == {}
    (path,) = ledger.history_files("feather", DAY)

    def forge(table: pa.Table) -> pa.Table:
        metadata = {key: value.replace(ledger_sha, b"0" * 64) for key, value in table.schema.metadata.items()}
        return table.replace_schema_metadata(metadata)

    (said,) = ledger.read_history(path).said.values()
    ledger_sha = said.sha256.encode()
    place = ledger.storage.local_path(path)
    assert place is not None
    forged = forge(pq.ParquetFile(place).read())
    pq.write_table(forged, place)
    assert any("not what its writer's next file says" in words for words in faults(ledger).get(path, []))


def test_an_event_file_that_was_edited_is_never_compacted(ledger: Ledger) -> None:
    """It stays beside the compacted events, named by verify, for a person to look at."""
    fill(ledger)
    victim = files(ledger, names.TAIL)[0]
    edit(ledger, victim, with_cell("attempts", 0, 7))
    report = tidy(ledger)
    assert [path for path, _ in report.left] == [victim]
    assert victim in files(ledger, names.TAIL)
    assert list(faults(ledger)) == [victim]
    assert len(rows(ledger)) == 24
    tidy(ledger)
    assert victim in files(ledger, names.TAIL)


def test_what_a_killed_compaction_left_is_swept_but_never_the_only_copy(ledger: Ledger) -> None:
    """A file of compacted events that no snapshot names goes when others hold its events; otherwise it stays."""
    fill(ledger)
    tidy(ledger)
    (path,) = ledger.history_files("feather", DAY)
    stray = places.new_history_path("feather", DAY, 1)
    ledger.storage.create(stray, ledger.storage.read(path))
    assert tidy(ledger).removed == 0, "it calls itself another file: a person should look at it"
    snapshot = ledger.snapshot("feather")
    assert snapshot is not None
    ledger.storage.delete(stray)
    for info in list(ledger.storage.list(names.LEDGER)):
        ledger.storage.delete(info.path)
    ledger.append([event("later")], NOW)
    before = rows(ledger)
    tidy(ledger)
    assert rows(ledger) == before
    assert faults(ledger) == {}


@pytest.mark.parametrize("lost", [(names.LEDGER,), (names.STATES,), (names.LEDGER, names.STATES)])
def test_what_a_fold_makes_can_be_deleted(ledger: Ledger, lost: tuple[str, ...]) -> None:
    """Snapshots, states and indices are made again from the events, also when those are compacted; to the row."""
    fill(ledger)
    tidy(ledger)
    ledger.append([archived("a")], NOW)
    publish_manifest(ledger, "feather", DAY)
    before, state, opened = rows(ledger), ledger.read_day("feather", DAY), ledger.read_open("feather")
    for tree in lost:
        for info in list(ledger.storage.list(tree)):
            ledger.storage.delete(info.path)
    for look in (Ledger(ledger.storage), Ledger(ledger.storage)):
        assert rows(look) == before
        assert look.read_day("feather", DAY) == state
        assert look.read_open("feather") == opened
        look.refold("feather")
    assert faults(ledger) == {} or lost == (names.STATES,)


def test_event_files_of_older_versions_are_taken_over(ledger: Ledger) -> None:
    """Those lay in a folder for each day: they count before and after the first fold, and are compacted by it."""
    fill(ledger)
    before, state = rows(ledger), ledger.read_day("feather", DAY)
    for path in files(ledger, names.TAIL):
        day, _, name = path.rpartition("/")[2].partition("_")
        old = f"{names.EVENTS}/provider=feather/date={day}/{name}"
        _rename(ledger, path, old)
    assert rows(ledger) == before
    assert ledger.read_day("feather", DAY) == state
    ledger.fold("feather")
    assert rows(ledger) == before
    assert ledger.read_day("feather", DAY) == state
    ledger.append([archived("a")], NOW)
    assert len(rows(ledger)) == 25


def _rename(ledger: Ledger, path: str, new: str) -> None:
    one, other = ledger.storage.local_path(path), ledger.storage.local_path(new)
    assert one is not None
    assert other is not None
    other.parent.mkdir(parents=True, exist_ok=True)
    one.rename(other)


def test_one_execution_is_found_without_its_day(ledger: Ledger) -> None:
    """By the index of ids after a fold, by the tail before; an unknown id is nothing."""
    fill(ledger)
    ((key, found),) = ledger.find("feather", "a").items()
    assert (key.execution_id, found.seq) == ("a", 2)
    tidy(ledger)
    ledger.append([archived("a")], NOW)
    ((_, after),) = ledger.find("feather", "a").items()
    assert after.life.state is State.ARCHIVED
    assert ledger.find("feather", "nobody") == {}
    assert next(iter(ledger.find("feather", "b2").values())).day == NEXT


def test_a_fold_costs_what_is_new(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """With thirty days behind it, a fold of one day reads and writes the files of that day, and a tick reads no state at all."""
    for number in range(30):
        ledger.append([event(f"r{number}", day=DAY - timedelta(days=number))], NOW)
    tidy(ledger)
    ledger.append([event("new")], NOW)
    touched: list[str] = []
    for name in ("read", "create"):
        good = getattr(type(ledger.storage), name)
        monkeypatch.setattr(type(ledger.storage), name, lambda *args, good=good: (touched.append(args[1]), good(*args))[1])
    fresh = Ledger(ledger.storage)
    assert len(fresh.read_open("feather")) == 31
    assert not [path for path in touched if path.startswith((names.STATES, names.EVENTS))]
    touched.clear()
    fresh.fold("feather")
    states = [path for path in touched if path.startswith(names.STATES)]
    assert len(states) == 2
    assert all(f"date={DAY}" in path for path in states)


def test_a_file_with_strange_words_or_days_is_named(ledger: Ledger) -> None:
    """One event that no version has written would spoil a whole day's state: it is refused before, with its path."""
    good = to_table([event("a")])
    for column, value, words in (
        ("state", "asleep", "unknown state 'asleep'"),
        ("outcome", "forgotten", "unknown outcome"),
        ("date", date(2026, 1, 1), "other days"),
    ):
        place = good.schema.get_field_index(column)
        bad = good.set_column(place, good.schema.field(column), pa.array([value], good.schema.field(column).type))
        sink = pa.BufferOutputStream()
        pq.write_table(bad, sink)
        path = f"{names.TAIL}/provider=feather/{DAY}_bad.parquet"
        ledger.storage.write(path, sink.getvalue().to_pybytes())
        for ask in (lambda: ledger.fold("feather"), lambda: ledger.read_day("feather", DAY)):
            with pytest.raises(StorageError, match=f"_bad.parquet .* is damaged .*{words}"):
                ask()
        assert read_manifest(ledger, "feather", DAY) is None
        ledger.storage.delete(path)
    assert ledger.fold("feather").new_files == 0
