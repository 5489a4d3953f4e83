"""Turns that all runs on one archive share: together they never ask more than the provider allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.errors import RateLimitedError, StorageError, Subject
from resources.providers.turns import FOLDER, StoredTurns
from resources.storage import ArchiveStorage, open_storage
from tests.providers.world import FakeClock

SUBJECT = Subject("kataven")
RATES = ((12, 60.0), (30, 600.0))
STEP = st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 4.0, 31.0, 200.0]), st.booleans())
"""Which process, how long after the one before, and whether it dies then."""


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """An empty archive."""
    return open_storage(str(tmp_path / "archive"))


def keeper(storage: ArchiveStorage, clock: FakeClock, patience: float = 0.0) -> StoredTurns:
    """Return a process's own way to the turns."""
    return StoredTurns(storage, "kataven", RATES, clock.runtime, patience)


def taken(turns: StoredTurns, clock: FakeClock, most: int) -> list[float]:
    """Take turns without a pause until there are none, and return when each was given."""
    times: list[float] = []
    while len(times) < most:
        try:
            turns.take(SUBJECT)
        except RateLimitedError:
            break
        times.append(clock.seconds)
    return times


@given(steps=st.lists(STEP, min_size=1, max_size=80))
@settings(deadline=None, max_examples=40)
def test_no_window_is_ever_exceeded_by_all_together(steps: list[tuple[int, float, bool]]) -> None:
    """Three processes, some of which die without giving anything back, never ask more than one may."""
    clock, storage = FakeClock(), open_storage(f"memory://turns-{uuid4().hex}")
    processes = [keeper(storage, clock) for _ in range(3)]
    times: list[float] = []
    for number, pause, dies in steps:
        clock.seconds += pause
        times += taken(processes[number], clock, 5)
        if dies:
            processes[number] = keeper(storage, clock)
    assert times
    for limit, seconds in RATES:
        for earlier, later in zip(times, times[limit:], strict=False):
            assert later - earlier >= seconds


def test_a_second_run_finds_what_the_first_one_asked(storage: ArchiveStorage) -> None:
    """Ended in good order or not, a run's requests count for the next one."""
    clock = FakeClock()
    first = keeper(storage, clock)
    assert len(taken(first, clock, 12)) == 12
    first.release()
    with pytest.raises(RateLimitedError, match="all runs share leaves no turn for") as refused:
        keeper(storage, clock).take(SUBJECT)
    assert 0 < (refused.value.retry_after or 0) <= 75


def test_what_was_not_used_is_given_back(storage: ArchiveStorage) -> None:
    """A run that asks once takes one turn away from the next, not a block of them."""
    clock = FakeClock()
    first = keeper(storage, clock)
    first.take(SUBJECT)
    first.release()
    assert len(taken(keeper(storage, clock), clock, 100)) == 11


def test_who_waits_gets_a_turn_when_the_window_has_passed(storage: ArchiveStorage) -> None:
    """Within its patience a caller sleeps for its turn; the sleep is the clock's."""
    clock = FakeClock()
    taken(keeper(storage, clock), clock, 12)
    before = clock.seconds
    keeper(storage, clock, patience=120.0).take(SUBJECT)
    assert 60 <= clock.seconds - before <= 75


def test_only_a_few_files_stay(storage: ArchiveStorage) -> None:
    """The book does not grow with what is written into it."""
    clock = FakeClock()
    turns = keeper(storage, clock)
    for _ in range(90):
        clock.seconds += 20
        taken(turns, clock, 1)
    assert len(list(storage.list(FOLDER))) <= 22


def test_two_that_write_at_once_do_not_take_the_same_turns(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds its number taken looks again, and sees what the other took."""
    clock = FakeClock()
    slow, fast = keeper(storage, clock), keeper(storage, clock)
    create: Callable[[str, bytes], None] = storage.create
    overtaken: list[int] = []

    def overtake(path: str, data: bytes) -> None:
        if not overtaken:
            overtaken.append(1)
            overtaken.append(len(taken(fast, clock, 12)))
        create(path, data)

    monkeypatch.setattr(storage, "create", overtake)
    with pytest.raises(RateLimitedError):
        slow.take(SUBJECT)
    assert overtaken == [1, 12]


def test_a_book_from_a_clock_that_was_ahead_does_not_block_for_ever(storage: ArchiveStorage) -> None:
    """Blocks that end in the far future count as of now."""
    ahead = FakeClock()
    ahead.seconds = 10 * 86_400.0
    taken(keeper(storage, ahead), ahead, 12)
    clock = FakeClock()
    with pytest.raises(RateLimitedError):
        keeper(storage, clock).take(SUBJECT)
    clock.seconds += 80
    keeper(storage, clock, patience=700.0).take(SUBJECT)


def test_a_damaged_book_is_begun_again(storage: ArchiveStorage) -> None:
    """What is no book is no reason to stop; the provider's own limit stands behind it."""
    storage.create(f"{FOLDER}/provider=kataven/000000000007.json", b"{not json")
    turns = keeper(storage, FakeClock())
    turns.take(SUBJECT)
    assert storage.exists(f"{FOLDER}/provider=kataven/000000000008.json")


def test_a_root_that_fails_is_said(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the root nobody knows what others ask, so nothing is asked; giving back is only tried."""
    clock = FakeClock()
    turns = keeper(storage, clock)
    turns.take(SUBJECT)

    def fail(path: str, data: bytes) -> None:
        del data
        msg = f"cannot write {path}"
        raise StorageError(msg)

    monkeypatch.setattr(storage, "create", fail)
    turns.release()
    with pytest.raises(StorageError, match="cannot write lake/turns"):
        turns.take(SUBJECT)
