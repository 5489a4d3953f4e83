"""From executions to the ledger: every recording that should exist gets an event before anything else is written about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import uuid4

from assets.executions.ingest import ExpectedRecording
from assets.recordings.duration import Tolerance, flaw_after
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Fact, Outcome, Policy, transition
from resources.failpoints import Failpoint, reached
from resources.model import RecordingKey

_USUAL = Tolerance()


@dataclass(frozen=True, slots=True)
class Finding:
    """How many recordings a discovery wrote about: first seen, now ready to be asked for, now purged, now with another length."""

    discovered: int
    ended: int
    purged: int
    described: int


class Discovery:
    """Tells the ledger of the recordings that executions should have, some at a time.

    The ledger is asked once for each day, and again when somebody has folded since: what another run has discovered and archived
    by then is in no tail any more, and an event that begins its history anew would be taken for a new recording's.
    """

    def __init__(
        self, ledger: Ledger, provider: str, *, run_id: str, now: datetime, policy: Policy, tolerance: Tolerance = _USUAL
    ) -> None:
        self._ledger = ledger
        self._provider = provider
        self._run_id = run_id
        self._now = now
        self._policy = policy
        self._tolerance = tolerance
        self._asked: tuple[date, int] | None = None
        self._known: dict[RecordingKey, Event] = {}

    def __call__(self, day: date, expected: Iterable[ExpectedRecording]) -> Finding:
        """Tell of recordings of ``day``. Again is harmless.

        Raises:
            StorageError: the events could not be written; then nothing should be written that follows from them.
        """
        asked = (day, self._ledger.generation(self._provider))
        if asked != self._asked:
            self._known = dict(self._ledger.read_day(self._provider, day))
            self._asked = asked
        events = [event for item in expected if (event := self._event(day, item)) is not None]
        self._ledger.append(events, self._now)
        self._known.update((event.key, event) for event in events)
        reached(Failpoint.RECORDINGS_DISCOVERED)
        outcomes = [event.outcome for event in events]
        return Finding(*map(outcomes.count, (Outcome.DISCOVERED, Outcome.ENDED, Outcome.PURGED, Outcome.DESCRIBED)))

    def _event(self, day: date, item: ExpectedRecording) -> Event | None:
        key = RecordingKey(self._provider, item.execution_id, item.leg)
        before = self._known.get(key)
        outcome = _news(before, item)
        if outcome is None:
            return None
        fact = Fact(outcome, execution_ended=item.terminal, ended_at=item.ended_at)
        life = transition(before.life if before else None, fact, self._now, self._policy, key)
        seconds = item.expected_seconds
        event = Event(key, day, uuid4().hex, 1, self._now, self._run_id, outcome, life, expected_seconds=seconds)
        return event if before is None else _after(before, event, self._tolerance)


def discover(
    ledger: Ledger,
    provider: str,
    day: date,
    expected: Iterable[ExpectedRecording],
    *,
    run_id: str,
    now: datetime,
    policy: Policy,
    tolerance: Tolerance = _USUAL,
) -> Finding:
    """Tell the ledger of the recordings that the executions of one partition should have; see :class:`Discovery`."""
    return Discovery(ledger, provider, run_id=run_id, now=now, policy=policy, tolerance=tolerance)(day, expected)


def _news(before: Event | None, item: ExpectedRecording) -> Outcome | None:
    """Return what ``item`` says that the ledger does not know, or None."""
    described = (
        Outcome.DESCRIBED if before is not None and _length(before, item.expected_seconds) != before.expected_seconds else None
    )
    if before is not None and before.life.terminal:
        return described
    if item.purged_at is not None:
        return Outcome.PURGED
    if before is None:
        return Outcome.DISCOVERED
    return Outcome.ENDED if item.terminal and before.life.eligible_since is None else described


def _after(before: Event, event: Event, tolerance: Tolerance) -> Event:
    """Return ``event`` as what follows ``before``, with all that it says nothing about."""
    seconds = _length(before, event.expected_seconds)
    return replace(
        event,
        seq=before.seq + 1,
        api_base=before.api_base,
        proved_base=before.proved_base,
        copy=before.copy,
        flaw=flaw_after(before, seconds, tolerance),
        expected_seconds=seconds,
        detail=f"the provider says now that it plays {seconds:.1f} s" if event.outcome is Outcome.DESCRIBED and seconds else None,
    )


def _length(before: Event, seconds: float | None) -> float | None:
    """Return how long a recording should play: a provider that says nothing any more has not unsaid it."""
    return before.expected_seconds if seconds is None else seconds
