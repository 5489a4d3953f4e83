"""From executions to the ledger: every recording that should exist gets an event before anything else is written about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import uuid4

from assets.executions.ingest import ExpectedRecording
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Fact, Outcome, Policy, transition
from resources.failpoints import Failpoint, reached
from resources.model import RecordingKey


@dataclass(frozen=True, slots=True)
class Finding:
    """How many recordings a discovery wrote about: first seen, now ready to be asked for, now purged."""

    discovered: int
    ended: int
    purged: int


def discover(
    ledger: Ledger, provider: str, day: date, expected: Iterable[ExpectedRecording], *, run_id: str, now: datetime, policy: Policy
) -> Finding:
    """Tell the ledger of the recordings that the executions of one partition should have. Again is harmless.

    Raises:
        StorageError: the events could not be written; then nothing should be written that follows from them.
    """
    known = ledger.read_day(provider, day)
    events: list[Event] = []
    for item in expected:
        key = RecordingKey(provider, item.execution_id, item.leg)
        before = known.get(key)
        outcome = _news(before, item)
        if outcome is None:
            continue
        fact = Fact(outcome, execution_ended=item.terminal, ended_at=item.ended_at)
        events.append(
            Event(
                key=key,
                day=day,
                event_id=uuid4().hex,
                seq=before.seq + 1 if before else 1,
                at=now,
                run_id=run_id,
                outcome=outcome,
                life=transition(before.life if before else None, fact, now, policy, key),
                copy=before.copy if before else None,
            )
        )
    ledger.append(events, now)
    reached(Failpoint.RECORDINGS_DISCOVERED)
    outcomes = [event.outcome for event in events]
    return Finding(*(outcomes.count(outcome) for outcome in (Outcome.DISCOVERED, Outcome.ENDED, Outcome.PURGED)))


def _news(before: Event | None, item: ExpectedRecording) -> Outcome | None:
    """Return what ``item`` says that the ledger does not know, or None."""
    if before is not None and before.life.terminal:
        return None
    if item.purged_at is not None:
        return Outcome.PURGED
    if before is None:
        return Outcome.DISCOVERED
    return Outcome.ENDED if item.terminal and before.life.eligible_since is None else None
