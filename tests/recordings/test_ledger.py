"""The ledger: append-only events, and the state that a fold makes of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.recordings.buffer import EventBuffer
from assets.recordings.events import SCHEMA, Copy, Event, Flaw, from_table, to_rows, to_table, winners
from assets.recordings.ledger import Ledger
from assets.recordings.ledger.digests import row_digest, row_digests
from assets.recordings.lifecycle import Fact, Life, Outcome, Policy, State, transition
from assets.recordings.names import tail_folder
from resources.errors import StorageError
from resources.model import Leg, RecordingKey
from resources.storage import ArchiveStorage, open_storage
from resources.storage.disk import SystemDisk

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = date(2026, 11, 20)
COPY = Copy("recordings/x/main.mp4", 3, "ab" * 32, "video/mp4", "cd" * 32)


def event(name: str, state: State = State.PENDING, *, seq: int = 1, epoch: int = 0, day: date = DAY) -> Event:
    """Return one event of a recording called ``name``."""
    due = NOW if state in (State.PENDING, State.NOT_READY) else None
    return Event(
        key=RecordingKey("feather", name, Leg.MAIN),
        day=day,
        event_id=uuid4().hex,
        seq=seq,
        at=NOW,
        run_id="run",
        outcome=Outcome.ARCHIVED if state is State.ARCHIVED else Outcome.DISCOVERED,
        life=Life(state=state, epoch=epoch, next_attempt_at=due, eligible_since=NOW),
        copy=COPY if state is State.ARCHIVED else None,
        api_base="https://feather.example",
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return an empty ledger on local disk."""
    return Ledger(open_storage(str(tmp_path / "root")))


def test_what_is_appended_is_read_back(ledger: Ledger) -> None:
    """An event comes back as it was, before and after a fold."""
    one, two = event("a"), event("b", State.ARCHIVED, seq=2)
    ledger.append([one, two], NOW)
    assert ledger.read_day("feather", DAY) == {one.key: one, two.key: two}
    ledger.fold("feather")
    assert ledger.read_day("feather", DAY) == {one.key: one, two.key: two}
    assert ledger.read_open("feather") == {one.key: one}


def test_a_late_event_never_revives_an_archived_recording(ledger: Ledger) -> None:
    """Whatever a slower run writes later, archived stays archived, also across a fold."""
    ledger.append([event("a", State.ARCHIVED, seq=2)], NOW)
    ledger.fold("feather")
    ledger.append([event("a", State.NOT_READY, seq=90)], NOW + timedelta(days=1))
    ledger.append([event("a", State.FAILED, seq=91, epoch=4)], NOW + timedelta(days=1))
    ledger.fold("feather")
    (state,) = ledger.read_day("feather", DAY).values()
    assert state.life.state is State.ARCHIVED
    assert ledger.read_open("feather") == {}


def test_between_folds_a_late_event_revives_nothing_either(ledger: Ledger) -> None:
    """The queue does not take up an archived recording because a slower run wrote after the fold; a requeued one it does."""
    ledger.append([event("a", State.ARCHIVED, seq=2), event("b", State.FAILED, seq=2), event("c", State.ABSENT, seq=2)], NOW)
    ledger.fold("feather")
    ledger.append([event("a", State.NOT_READY, seq=3), event("c", State.NOT_READY, seq=3)], NOW)
    ledger.append([event("b", State.PENDING, seq=3, epoch=1), event("d")], NOW)
    assert {key.execution_id for key in ledger.read_open("feather")} == {"b", "d"}


def test_a_fold_does_not_trust_clocks(ledger: Ledger) -> None:
    """A file with an old time in its name that arrives after a fold is still seen: the folded set is exact."""
    ledger.append([event("a")], NOW)
    ledger.fold("feather")
    ledger.append([event("b")], NOW - timedelta(days=300))
    assert {key.execution_id for key in ledger.read_open("feather")} == {"a", "b"}
    assert ledger.fold("feather").new_files == 1
    assert ledger.fold("feather").new_files == 0


def test_two_folds_at_once_lose_nothing(ledger: Ledger) -> None:
    """Writers and folders at the same time: every event is in the state at the end."""
    names = [f"r{number}" for number in range(60)]
    faults: list[BaseException] = []

    def write(mine: list[str]) -> None:
        for name in mine:
            ledger.append([event(name)], NOW)

    def fold() -> None:
        try:
            for _ in range(8):
                ledger.fold("feather")
                ledger.read_open("feather")
        except BaseException as fault:  # noqa: BLE001 -- shown by the main thread
            faults.append(fault)

    threads = [threading.Thread(target=write, args=(names[start::3],)) for start in range(3)]
    threads += [threading.Thread(target=fold) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    ledger.fold("feather")
    assert {key.execution_id for key in ledger.read_open("feather")} == set(names)


def test_a_fold_that_died_before_its_pointer_changes_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between new state and pointer: readers see the old state and the tail, and the next fold is whole."""
    ledger.append([event("a")], NOW)
    ledger.fold("feather")
    ledger.append([event("a", State.ARCHIVED, seq=2), event("b")], NOW)
    before = ledger.read_day("feather", DAY)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("assets.recordings.ledger.snapshot.publish", die)
        with pytest.raises(Killed):
            ledger.fold("feather")
    assert ledger.read_day("feather", DAY) == before
    ledger.fold("feather")
    assert ledger.read_day("feather", DAY) == before


def test_files_of_an_older_version_are_read(ledger: Ledger) -> None:
    """Columns that a file lacks come as nulls."""
    old = to_table([event("a")]).drop_columns(["seconds", "api_base"])
    sink = pa.BufferOutputStream()
    pq.write_table(old, sink)
    ledger.storage.create("lake/recording_tail/provider=feather/2026-11-20_old.parquet", sink.getvalue().to_pybytes())
    (read,) = ledger.read_day("feather", DAY).values()
    assert (read.key.execution_id, read.api_base) == ("a", None)


def test_a_base_that_proved_right_is_remembered(ledger: Ledger) -> None:
    """A base URL is believed after an answer that a wrong one cannot give, also when later events say something else."""
    base = "https://feather.example"
    ledger.append([event("a")], NOW)
    assert not ledger.base_has_proved_right("feather", base)
    ledger.append([replace(event("b", State.NOT_READY, seq=2), proved_base=base)], NOW)
    ledger.append([replace(event("b", State.ABSENT, seq=3), proved_base=base)], NOW)
    for _ in range(2):
        assert ledger.base_has_proved_right("feather", base)
        assert not ledger.base_has_proved_right("feather", "https://other.example")
        ledger.fold("feather")


def test_a_slow_fold_cannot_break_the_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that stalls while others pass gives up; a state that is gone is made again from the events."""
    ledger.append([event("a")], NOW)
    good = type(ledger.storage).create
    stalled = []

    def stall(storage: ArchiveStorage, path: str, data: bytes) -> None:
        good(storage, path, data)
        if path.endswith(".days.json") and not stalled:
            stalled.append(path)
            for name in "bcd":
                ledger.append([event(name)], NOW)
                ledger.fold("feather")

    monkeypatch.setattr(type(ledger.storage), "create", stall)
    ledger.fold("feather")
    assert {key.execution_id for key in ledger.read_open("feather")} == set("abcd")
    for info in [*ledger.storage.list("lake/recordings"), *ledger.storage.list("lake/ledger")]:
        if "/snapshots/" not in info.path and not info.path.endswith(".days.json"):
            ledger.storage.delete(info.path)
    assert {key.execution_id for key in ledger.read_open("feather")} == set("abcd")
    ledger.fold("feather")
    assert {key.execution_id for key in ledger.read_day("feather", DAY)} == set("abcd")


def test_stray_files_are_left_alone_and_damaged_ones_are_named(ledger: Ledger) -> None:
    """What a file manager leaves behind is no event; a damaged event file is named with the remedy."""
    ledger.append([event("a")], NOW)
    ledger.storage.create("lake/recording_tail/provider=feather/.DS_Store", b"x")
    ledger.storage.create("lake/recording_tail/provider=feather/2026-11-20_notes.txt", b"x")
    assert len(ledger.read_open("feather")) == 1
    assert ledger.days("feather") == [DAY]
    ledger.storage.create("lake/recording_tail/provider=feather/2026-11-20_bad.parquet", b"PAR1 nothing")
    with pytest.raises(StorageError, match=r"bad\.parquet .* is damaged"):
        ledger.read_open("feather")


def test_the_buffer_writes_when_full_or_old(ledger: Ledger) -> None:
    """A batch becomes visible when it is full, when its first event is old, and at the end."""
    clock = [0.0]
    buffer = EventBuffer(ledger, lambda: NOW, lambda: clock[0], batch=3, max_age=5.0)
    seen = []
    for number in range(5):
        buffer.add(event(f"r{number}"))
        seen.append(len(ledger.read_open("feather")))
    assert seen == [0, 0, 3, 3, 3]
    clock[0] = 6.0
    buffer.add(event("r5"))
    assert len(ledger.read_open("feather")) == 6
    buffer.add(event("r6"))
    buffer.flush()
    assert len(ledger.read_open("feather")) == 7


def test_what_is_built_on_lasts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event file whose writer died before its name was synced is seen to, by who reads the day and by who folds."""
    ledger.append([event("a")], NOW)
    folder = ledger.storage.local_path(tail_folder("feather"))
    synced: list[Path] = []
    monkeypatch.setattr(SystemDisk, "sync_folder", lambda _, path: synced.append(path))
    reader = Ledger(open_storage(ledger.storage.url))
    assert len(reader.read_day("feather", DAY)) == 1
    assert synced[-1] == folder
    assert folder.parent in synced, "the name of the folder itself"
    reader.fold("feather")
    assert folder in synced[synced.index(folder) + 1 :]  # again, for the fold


OUTCOMES = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.DISCOVERED])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), OUTCOMES), max_size=12), st.randoms())
def test_the_state_does_not_depend_on_the_order_of_files(history: list[tuple[str, Outcome]], random: object) -> None:
    """However files are listed or folded, the winning events are the same."""
    lives: dict[str, tuple[int, Life | None]] = {}
    events: list[Event] = []
    for name, outcome in history:
        seq, life = lives.get(name, (0, None))
        made = transition(life, Fact(outcome), NOW, Policy(), RecordingKey("feather", name, Leg.MAIN))
        lives[name] = (seq + 1, made)
        events.append(replace(event(name, seq=seq + 1), life=made, outcome=outcome))
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    half = len(shuffled) // 2
    folded = winners([*winners(shuffled[:half]).values(), *shuffled[half:]])
    assert folded == winners(events)
    assert {key.execution_id: found.life.state for key, found in folded.items()} == {
        name: life.state for name, (_, life) in lives.items() if life
    }


def test_the_schema_holds_every_field() -> None:
    """Nothing of an event is lost in a file."""
    full = replace(event("ü\u202e'; DROP TABLE x", State.ARCHIVED), http_status=200, detail="d", seconds=1.5)
    assert from_table(to_table([full])) == [full]
    assert to_table([full]).schema == SCHEMA


LIFE_COUNTS = ("attempts", "attempts_before", "suspects", "absences", "epoch")
LIFE_TIMES = ("next_attempt_at", "eligible_since", "trying_since", "ended_at")


def test_each_fact_of_an_event_is_in_its_own_column() -> None:
    """Rows are made by place: no two facts of one type change places, and the digest of a row is that of what a reader sees."""
    whole = iter(range(1, 99))
    times = (NOW + timedelta(hours=number) for number in range(1, 99))
    life = Life(
        state=State.ARCHIVED,
        **{name: next(whole) for name in LIFE_COUNTS},
        **{name: next(times) for name in LIFE_TIMES},
    )
    words = {name: f"the {name}" for name in ("path", "sha256", "content_type", "sidecar_sha256")}
    copy = Copy(bytes=next(whole), number=next(whole), media_seconds=0.5, archived_at=next(times), **words)
    texts = {name: f"the {name}" for name in ("event_id", "run_id", "detail", "api_base", "proved_base")}
    key = RecordingKey("feather", "the id", Leg.SUPERVISOR)
    made = Event(
        key=key, day=DAY, seq=next(whole), at=next(times), outcome=Outcome.ADOPTED, life=life, http_status=next(whole),
        seconds=1.5, copy=copy, flaw=Flaw.DURATION, expected_seconds=2.5, **texts,
    )  # fmt: skip
    (row,) = to_table([made]).to_pylist()
    facts = {name: getattr(made, name) for name in ("seq", "at", "http_status", "seconds", "expected_seconds", *texts)}
    facts |= {name: getattr(life, name) for name in (*LIFE_COUNTS, *LIFE_TIMES)}
    facts |= {name: getattr(copy, name) for name in ("bytes", "number", "media_seconds", "archived_at", *words)}
    facts |= {"provider": "feather", "execution_id": "the id", "leg": "supervisor", "date": DAY}
    assert row == facts | {"outcome": "adopted", "state": "archived", "flaw": "duration"}
    assert row_digests(to_rows([made])) == [row_digest(row)]
