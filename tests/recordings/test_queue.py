"""What should be launched now, from the ledger alone."""

from __future__ import annotations

import itertools
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assets.executions.reads import last_reads, note_reads
from assets.recordings.events import Event, to_table
from assets.recordings.ledger import Ledger, folding
from assets.recordings.ledger.files import to_bytes
from assets.recordings.lifecycle import Life, Outcome, State
from assets.recordings.queue import DayRange, fair_choice, open_days, queue_at, queue_of, ranges_of, unfinished_days
from resources.model import Leg, RecordingKey
from resources.storage import open_storage

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
TODAY = NOW.date()
FIRST = date(2026, 11, 1)
DAYS = st.sets(st.dates(date(2026, 1, 1), date(2026, 3, 1)), max_size=30)


def waiting(day: date, next_attempt_at: datetime | None, state: State = State.PENDING) -> Event:
    """Return an open recording of a day."""
    key = RecordingKey("feather", f"{day}-{next_attempt_at}-{state}", Leg.MAIN)
    life = Life(state=state, next_attempt_at=next_attempt_at, eligible_since=next_attempt_at)
    return Event(key, day, "e", 1, NOW, "r", Outcome.NOT_READY, life)


def opened(reads: dict[date, datetime], events: list[Event] | None = None, now: datetime = NOW) -> list[date]:
    """Return the open days of a small archive."""
    return open_days(unfinished_days(to_table(events or [])), reads, now, first=FIRST, reread_days=3)


def test_what_was_never_read_is_owed() -> None:
    """A new archive owes every day from its first on; nothing is lost because nobody ran for a week."""
    assert opened({}) == [FIRST + timedelta(days=n) for n in range(20)]
    gap = {FIRST + timedelta(days=n): NOW for n in range(20) if n not in {4, 5}}
    assert opened(gap)[:2] == [date(2026, 11, 5), date(2026, 11, 6)]


def test_a_day_is_complete_once_it_was_read_at_its_age() -> None:
    """A read before the day was old enough does not close it, whenever the next one comes."""
    day = date(2026, 11, 10)
    everything = {FIRST + timedelta(days=n): NOW for n in range(20)}
    assert day not in opened(everything | {day: datetime(2026, 11, 14, tzinfo=UTC)})
    assert day in opened(everything | {day: datetime(2026, 11, 13, 23, 59, tzinfo=UTC)})


def test_young_days_are_always_read() -> None:
    """Executions appear late: the last days are read by every tick."""
    everything = {FIRST + timedelta(days=n): NOW for n in range(20)}
    assert opened(everything) == [TODAY - timedelta(days=n) for n in (3, 2, 1, 0)]


def test_old_unfinished_days_are_read_once_a_day() -> None:
    """A run of last week that still goes on keeps its day open, for about one read a day, at whatever hour the ticks come."""
    old = date(2026, 11, 5)
    events = [waiting(old, None), waiting(date(2026, 11, 6), NOW)]
    everything = {FIRST + timedelta(days=n): NOW - timedelta(hours=2) for n in range(20)}
    assert old not in opened(everything, events)
    assert opened(everything, events, NOW + timedelta(hours=22))[0] == old
    assert date(2026, 11, 6) not in opened(everything, events, NOW + timedelta(hours=22))


def test_reads_are_kept(tmp_path: Path) -> None:
    """The moments of complete reads come back, and a later note never moves one into the past."""
    storage = open_storage(str(tmp_path))
    assert last_reads(storage, "feather") == {}
    note_reads(storage, "feather", [FIRST, TODAY], NOW)
    note_reads(storage, "feather", [TODAY], NOW - timedelta(hours=1))
    assert last_reads(storage, "feather") == {FIRST: NOW, TODAY: NOW}


@given(DAYS)
def test_ranges_hold_exactly_the_days(days: set[date]) -> None:
    """Neighbours are joined; no day is added, none is lost, and no two ranges touch."""
    ranges = ranges_of(days)
    assert [day for span in ranges for day in span.days] == sorted(days)
    assert all(two.first - one.last > timedelta(days=1) for one, two in itertools.pairwise(ranges))


@given(DAYS, st.integers(1, 10))
def test_the_choice_starves_nobody(days: set[date], limit: int) -> None:
    """At most the limit is chosen, the newest among them, and each only once."""
    ranges = ranges_of(days)
    chosen = fair_choice(ranges, dict.fromkeys(days, 1), limit)
    assert len(chosen) == len(set(chosen)) == min(limit, len(ranges))
    if ranges:
        assert chosen[0] == ranges[-1]


def test_the_fullest_range_has_its_turn() -> None:
    """Beside the newest range comes the one with most to do."""
    spans = [DayRange(date(2026, 1, n), date(2026, 1, n)) for n in (1, 3, 5, 7)]
    counts = {date(2026, 1, 3): 900, date(2026, 1, 1): 5, date(2026, 1, 5): 1, date(2026, 1, 7): 1}
    assert fair_choice(spans, counts, 2) == [spans[3], spans[1]]


def test_the_oldest_range_has_its_turn() -> None:
    """However many new days have more to do, an old one with a single recording is not left waiting."""
    spans = [DayRange(date(2026, 1, n), date(2026, 1, n)) for n in range(1, 30, 2)]
    counts = {span.first: span.first.day for span in spans}
    assert spans[0] in fair_choice(spans, counts, 3)


def test_the_queue_sorts_what_waits() -> None:
    """Due, waiting for a time, waiting for the execution, blocked."""
    later = NOW + timedelta(hours=1)
    queue = queue_of(
        to_table(
            [
                waiting(TODAY, NOW),
                waiting(TODAY, later),
                waiting(TODAY, None),
                waiting(FIRST, later + timedelta(1), State.BLOCKED),
            ]
        ),
        NOW,
    )
    assert (queue.due, queue.waiting, queue.next_at, queue.running, queue.blocked) == ({TODAY: 1}, 2, later, 1, 1)


def test_blocked_recordings_wait_together() -> None:
    """The one that was asked last holds the others back: a fault of the operator's is looked at once in a while, not by each."""
    later = NOW + timedelta(minutes=15)
    blocked = [waiting(FIRST, NOW - timedelta(hours=1), State.BLOCKED) for _ in range(3)]
    asked = waiting(TODAY, later, State.BLOCKED)
    queue = queue_of(to_table([*blocked, asked, waiting(TODAY, NOW)]), NOW)
    assert (queue.due, queue.waiting, queue.next_at, queue.blocked) == ({TODAY: 1}, 4, later, 4)
    assert queue_of(to_table([*blocked, asked]), later).due == {FIRST: 3, TODAY: 1}
    assert queue_of(to_table([]), NOW).due == {}


_DUE = (State.PENDING, 0, 0)
_BLOCKED = [(State.BLOCKED, minutes, 0) for minutes in (0, 2, 0, 0, 0, 1)]
STATES_OPEN = st.sampled_from([State.PENDING, State.NOT_READY, State.BLOCKED])


@settings(max_examples=25, deadline=None)
@example([*_BLOCKED[:1], _DUE, *_BLOCKED[1:5], *[_DUE] * 3, _BLOCKED[5]], [], False)
@example([*_BLOCKED[:1], _DUE, *_BLOCKED[1:5], *[_DUE] * 3, _BLOCKED[5]], [], True)
@given(
    st.lists(st.tuples(STATES_OPEN, st.none() | st.integers(-90, 90), st.integers(0, 2)), max_size=25),
    st.lists(st.tuples(STATES_OPEN, st.none() | st.integers(-90, 90), st.integers(0, 2)), max_size=3),
    st.booleans(),
)
def test_the_queue_of_the_ledger_is_that_of_all_its_recordings(
    folded: list[tuple[State, int | None, int]], appended: list[tuple[State, int | None, int]], older: bool
) -> None:
    """Whatever a fold, or an older version's, has written down, with a tail or without: nothing is missed, or too much."""

    def event(number: int, state: State, minutes: int | None, day: int) -> Event:
        minutes = 0 if minutes is None and state is State.BLOCKED else minutes  # who is blocked has a time
        moment = NOW + timedelta(minutes=minutes) if minutes is not None else None
        key = RecordingKey("feather", f"r{number}", Leg.MAIN)
        life = Life(state=state, next_attempt_at=moment, eligible_since=moment)
        return Event(key, TODAY - timedelta(days=day), f"e{number}", 1, NOW, "r", Outcome.NOT_READY, life)

    events = [event(number, *each) for number, each in enumerate([*folded, *appended])]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("assets.recordings.ledger.files.ROW_GROUP_ROWS", 4)
        if older:
            patch.setattr(folding, "to_bytes", lambda *tables, **_: to_bytes(pa.concat_tables(tables).sort_by("next_attempt_at")))
        ledger = Ledger(open_storage(folder))
        if folded:
            ledger.append(events[: len(folded)], NOW)
            ledger.fold("feather")
        if appended:
            ledger.append(events[len(folded) :], NOW)
        found = queue_at(ledger, "feather", NOW, date.min)
    assert found == queue_of(to_table(events), NOW)
