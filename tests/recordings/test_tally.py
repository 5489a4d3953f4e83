"""What ``recording-archive run`` tells of its days at the end."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Outcome, State
from pipelines.cli import tally
from pipelines.cli.output import STATES
from resources.storage import open_storage
from tests.recordings.test_ledger import COPY, DAY, NOW, event

PROVIDER = "feather"
OUR_RUN = "run"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return an empty ledger on local disk."""
    return Ledger(open_storage(str(tmp_path / "root")))


def tried(name: str, outcome: Outcome, *, day: date = DAY, run_id: str = OUR_RUN, state: State = State.NOT_READY) -> Event:
    """Return the event of a try."""
    return replace(event(name, state, seq=2, day=day), outcome=outcome, run_id=run_id, detail=f"{name} says why")


@pytest.mark.parametrize("folded", [True, False])
def test_the_counts_are_those_of_the_days_that_were_asked_for(ledger: Ledger, folded: bool) -> None:
    """States and bytes, of folded days and of the tail; of other days and of days without recordings, nothing."""
    states = [State.ARCHIVED, State.ARCHIVED, State.FAILED, State.PENDING]
    for offset in range(3):
        day = DAY + timedelta(days=2 * offset)
        ledger.append([event(f"{offset}-{number}", state, day=day) for number, state in enumerate(states)], NOW)
    if folded:
        ledger.fold(PROVIDER)
    found = tally.counts(ledger, PROVIDER, [DAY + timedelta(days=number) for number in range(4)])
    expected = Counter({"archived": 4, "failed": 2, "pending": 2})
    assert found == {**{state: expected[state] for state in STATES}, "bytes": 4 * COPY.bytes}


def test_a_run_without_one_usable_answer_says_so(ledger: Ledger) -> None:
    """It names how many it asked for, and why the first of them failed; what other runs tried does not count."""
    days = [DAY, DAY + timedelta(days=1)]
    ledger.append([tried("a", Outcome.TRANSIENT), event("untried")], NOW)
    ledger.append([tried("b", Outcome.TRANSIENT, day=days[1])], NOW)
    ledger.append([tried("c", Outcome.ARCHIVED, day=days[1], run_id="another", state=State.ARCHIVED)], NOW)
    text = "feather: all 2 recordings failed, and are tried again later. a says why"
    assert tally.unreached(ledger, PROVIDER, days, {OUR_RUN}) == text
    assert tally.unreached(ledger, PROVIDER, days, {"a third"}) is None
    ledger.append([tried("d", Outcome.NOT_READY, day=days[1])], NOW)
    assert tally.unreached(ledger, PROVIDER, days, {OUR_RUN}) is None


def test_counting_a_long_range_takes_the_room_of_a_day(ledger: Ledger) -> None:
    """Eight times as many days take no more memory, where all events of the range took eight times as much."""
    many = 400
    for offset in range(8):
        day = DAY + timedelta(days=offset)
        ledger.append([tried(f"{offset}-{number}", Outcome.TRANSIENT, day=day) for number in range(many)], NOW)
    ledger.fold(PROVIDER)
    days = [DAY + timedelta(days=offset) for offset in range(8)]

    def peak(of: list[date]) -> int:
        tracemalloc.start()
        try:
            assert tally.counts(ledger, PROVIDER, of)["not_ready"] == many * len(of)
            assert tally.unreached(ledger, PROVIDER, of, {OUR_RUN}) is not None
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(days)  # what is loaded once
    assert peak(days) < 1.5 * peak(days[:1])
