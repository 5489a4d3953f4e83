"""The life of a recording, as a pure function."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.recordings.lifecycle import (
    COPY_IS_THERE,
    SPENDS_ATTEMPT,
    TERMINAL_STATES,
    Fact,
    Life,
    Outcome,
    Policy,
    State,
    backoff,
    is_due,
    transition,
)
from resources.model import Leg, RecordingKey

KEY = RecordingKey("feather", "c-1", Leg.MAIN)
START = datetime(2026, 11, 20, 12, tzinfo=UTC)
POLICY = Policy()

FACTS = st.builds(
    Fact,
    outcome=st.sampled_from(Outcome),
    retry_after=st.none() | st.floats(0, 1e5),
    execution_ended=st.booleans(),
    ended_at=st.none() | st.just(START - timedelta(hours=1)),
)
HISTORY = st.lists(st.tuples(FACTS, st.floats(0, 1e6)), max_size=80)


def lives(history: list[tuple[Fact, float]], policy: Policy = POLICY) -> list[tuple[datetime, Fact, Life]]:
    """Return the life after each fact of a history of (fact, seconds since the one before)."""
    now, life, found = START, None, []
    for fact, pause in history:
        now += timedelta(seconds=pause)
        life = transition(life, fact, now, policy, KEY)
        found.append((now, fact, life))
    return found


@given(HISTORY)
def test_archived_is_absorbing(history: list[tuple[Fact, float]]) -> None:
    """Once archived, nothing that is learnt later changes anything."""
    steps = lives(history)
    for (_, _, before), (_, _, after) in pairwise(steps):
        if before.state is State.ARCHIVED:
            assert after == before


@given(HISTORY)
def test_only_an_operator_or_the_copy_itself_leaves_a_terminal_state(history: list[tuple[Fact, float]]) -> None:
    """A terminal state is left only by a requeue, or because the copy turned out to be there."""
    steps = lives(history)
    for (_, _, before), (_, fact, after) in pairwise(steps):
        if before.terminal and after != before:
            assert fact.outcome in {Outcome.REQUEUED, *COPY_IS_THERE}


@given(HISTORY)
def test_attempts_are_never_lost(history: list[tuple[Fact, float]]) -> None:
    """Attempts never go down, and go up by one exactly for outcomes that say something about the recording."""
    before = Life()
    for _, fact, after in lives(history):
        spent = fact.outcome in SPENDS_ATTEMPT and not (before.terminal and after == before)
        assert after.attempts == before.attempts + spent
        before = after


@given(HISTORY)
def test_an_open_recording_is_never_forgotten(history: list[tuple[Fact, float]]) -> None:
    """An open recording has a time for its next attempt, unless it waits for its execution to end; a terminal one has none."""
    for _, _, life in lives(history):
        if life.terminal:
            assert life.next_attempt_at is None
        else:
            assert life.next_attempt_at is not None or life.eligible_since is None


@given(HISTORY)
def test_the_pause_that_was_asked_for_is_kept(history: list[tuple[Fact, float]]) -> None:
    """After an unsuccessful try the next one comes no earlier than Retry-After says."""
    waits = {Outcome.NOT_READY, Outcome.RATE_LIMITED, Outcome.TRANSIENT, Outcome.BLOCKED}
    before = Life()
    for now, fact, life in lives(history):
        if fact.outcome in waits and fact.retry_after and before.eligible_since and not (life.terminal or before.terminal):
            assert life.next_attempt_at is not None
            assert life.next_attempt_at >= now + timedelta(seconds=fact.retry_after)
        before = life


@given(st.integers(1, 500), st.floats(0.1, 1e4), st.text(max_size=20))
def test_backoff_is_bounded_and_repeatable(tries: int, base: float, name: str) -> None:
    """The pause lies within the jitter around the doubled base, never over the maximum, and is the same each time."""
    key = replace(KEY, execution_id=name)
    pause = backoff(tries, base, POLICY, key)
    middle = min(POLICY.maximum, base * 2.0 ** min(tries - 1, 32))
    assert middle * (1 - POLICY.jitter) - 1e-3 <= pause.total_seconds() <= middle * (1 + POLICY.jitter) + 1e-3
    assert pause == backoff(tries, base, POLICY, key)


def test_two_recordings_that_failed_together_come_back_apart() -> None:
    """The jitter differs between recordings."""
    pauses = {backoff(3, 60, POLICY, replace(KEY, execution_id=str(number))) for number in range(50)}
    assert len(pauses) == 50


@pytest.mark.parametrize("outcome", [Outcome.NOT_READY, Outcome.TRANSIENT, Outcome.NOT_CONFIGURED])
def test_endless_trouble_ends_as_a_dead_letter(outcome: Outcome) -> None:
    """After the attempt limit the recording has failed, and stays so."""
    policy = replace(POLICY, attempt_limit=4)
    history = [(Fact(Outcome.DISCOVERED), 0.0)] + [(Fact(outcome), 60.0)] * 5
    states = [life.state for _, _, life in lives(history, policy)]
    assert states[3] is not State.FAILED
    assert states[4:] == [State.FAILED, State.FAILED]


def test_the_deadline_ends_it_whatever_the_attempts() -> None:
    """A recording that is not ready for longer than the deadline has failed."""
    days = POLICY.deadline.total_seconds() + 1
    steps = lives([(Fact(Outcome.DISCOVERED), 0), (Fact(Outcome.NOT_READY), days), (Fact(Outcome.NOT_READY), days)])
    assert [life.state for _, _, life in steps] == [State.PENDING, State.NOT_READY, State.FAILED]


def test_time_before_the_first_try_does_not_count() -> None:
    """A backlog that waited for months, and pauses that we were asked for, make no dead letters."""
    year = 365 * 86400.0
    paused = [(Fact(Outcome.RATE_LIMITED, retry_after=9.0), year)] * 60
    steps = lives([(Fact(Outcome.DISCOVERED), 0), *paused, (Fact(Outcome.TRANSIENT), year)])
    assert {life.state for _, _, life in steps} == {State.PENDING}
    assert steps[-1][2].attempts == 1


def test_asking_by_hand_too_early_changes_nothing() -> None:
    """A recording whose execution runs waits for the end, whatever an early question gave."""
    life = transition(None, Fact(Outcome.DISCOVERED, execution_ended=False), START, POLICY, KEY)
    for outcome in (Outcome.NOT_READY, Outcome.BLOCKED, Outcome.ABSENT, Outcome.RATE_LIMITED):
        life = transition(life, Fact(outcome), START, POLICY, KEY)
        assert (life.state, life.next_attempt_at) == (State.PENDING, None)
    assert is_due(transition(life, Fact(Outcome.ENDED), START, POLICY, KEY), START)


def test_bodies_that_are_no_media_are_enough_after_a_day() -> None:
    """An error page in front of everything for an hour makes no dead letter; the same body for a day does."""
    history = [(Fact(Outcome.DISCOVERED), 0.0)] + [(Fact(Outcome.NOT_MEDIA), 600.0)] * (POLICY.suspect_limit + 1)
    assert lives(history)[-1][2].state is State.PENDING
    history.append((Fact(Outcome.NOT_MEDIA), POLICY.suspect_days.total_seconds()))
    assert lives(history)[-1][2].state is State.FAILED


def test_absent_is_believed_only_after_the_grace_period() -> None:
    """A provider that says "none" just after the end of a run is asked again; later it is believed."""
    ended = START - timedelta(seconds=POLICY.absent_grace / 2)
    seen = transition(None, Fact(Outcome.DISCOVERED, ended_at=ended), START, POLICY, KEY)
    early = transition(seen, Fact(Outcome.ABSENT), START, POLICY, KEY)
    assert early.state is State.NOT_READY
    late = transition(early, Fact(Outcome.ABSENT), START + timedelta(seconds=POLICY.absent_grace), POLICY, KEY)
    assert late.state is State.ABSENT


def test_absent_is_believed_when_it_was_said_twice() -> None:
    """One "there is none" may be a provider in trouble; the second one, a pause later, is believed."""
    ended = START - timedelta(seconds=2 * POLICY.absent_grace)
    life = transition(None, Fact(Outcome.DISCOVERED, ended_at=ended), START, POLICY, KEY)
    life = transition(life, Fact(Outcome.ABSENT), START, POLICY, KEY)
    assert (life.state, life.next_attempt_at is not None) == (State.NOT_READY, True)
    assert transition(life, Fact(Outcome.ABSENT), START, POLICY, KEY).state is State.ABSENT
    assert transition(life, Fact(Outcome.ARCHIVED), START, POLICY, KEY).state is State.ARCHIVED


def test_other_faults_do_not_make_one_absence_two() -> None:
    """After a 500, one false "there is none" is not believed; after a "not ready", it counts from the beginning."""
    day = timedelta(days=1)
    ended = START - 3 * day
    life = transition(None, Fact(Outcome.DISCOVERED, ended_at=ended), START, POLICY, KEY)
    for minutes, outcome in enumerate((Outcome.TRANSIENT, Outcome.ABSENT, Outcome.NOT_READY, Outcome.ABSENT)):
        life = transition(life, Fact(outcome), START + minutes * timedelta(minutes=10), POLICY, KEY)
        assert not life.terminal, outcome
    assert transition(life, Fact(Outcome.ABSENT), START + day, POLICY, KEY).state is State.ABSENT


def test_the_operators_fault_spends_nothing() -> None:
    """Blocked recordings keep their attempts and their deadline, however long the key is wrong."""
    life = transition(None, Fact(Outcome.DISCOVERED), START, POLICY, KEY)
    now = START
    for _ in range(200):
        now += timedelta(days=1)
        life = transition(life, Fact(Outcome.BLOCKED), now, POLICY, KEY)
    assert (life.state, life.attempts) == (State.BLOCKED, 0)
    life = transition(life, Fact(Outcome.NOT_READY), now, POLICY, KEY)
    assert life.state is State.NOT_READY


def test_a_running_execution_is_not_asked_for() -> None:
    """A recording is due only once its execution has ended."""
    life = transition(None, Fact(Outcome.DISCOVERED, execution_ended=False), START, POLICY, KEY)
    assert not is_due(life, START + timedelta(days=400))
    life = transition(life, Fact(Outcome.ENDED), START, POLICY, KEY)
    assert is_due(life, START)


def test_a_requeue_gives_a_whole_new_patience() -> None:
    """After a requeue the attempt limit counts from there, and no attempt is forgotten."""
    policy = replace(POLICY, attempt_limit=2)
    history = [(Fact(Outcome.DISCOVERED), 0.0), (Fact(Outcome.TRANSIENT), 60.0), (Fact(Outcome.TRANSIENT), 60.0)]
    failed = lives(history, policy)[-1][2]
    assert failed.state is State.FAILED
    again = transition(failed, Fact(Outcome.REQUEUED), START, policy, KEY)
    assert is_due(again, START)
    again = transition(again, Fact(Outcome.TRANSIENT), START, policy, KEY)
    assert (again.state, again.attempts) == (State.PENDING, 3)


def test_every_state_is_open_or_terminal() -> None:
    """The states of the design are all there."""
    assert {state.value for state in State} == {"pending", "not_ready", "archived", "absent", "purged", "blocked", "failed"}
    assert {state.value for state in TERMINAL_STATES} == {"archived", "absent", "purged", "failed"}
