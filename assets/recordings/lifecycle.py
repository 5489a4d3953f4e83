"""The life of a recording as one pure function: (state, outcome, now, policy) -> state.

::

    pending -> archived                       the good way
    pending -> not_ready -> ... -> archived   asked too early: 409, 503, a fresh 404
    pending -> absent | purged                the provider says that there is none (after a grace period), or removed it
    pending -> blocked -> ...                 the operator's fault: asked again slowly, no attempt spent
    ...     -> failed                         an attempt limit or the deadline is passed: re-queued by hand

``archived`` is absorbing for ever. ``absent``, ``purged`` and ``failed`` are left only by ``requeued``.
Nothing here asks the clock or throws dice: time is a parameter, and the jitter of a backoff is a hash of the recording.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from resources.model import RecordingKey
from resources.settings import Settings


class State(StrEnum):
    """Where a recording is in its life."""

    PENDING = "pending"
    NOT_READY = "not_ready"
    BLOCKED = "blocked"
    ARCHIVED = "archived"
    ABSENT = "absent"
    PURGED = "purged"
    FAILED = "failed"


TERMINAL_STATES = frozenset({State.ARCHIVED, State.ABSENT, State.PURGED, State.FAILED})
OPEN_STATES = frozenset(State) - TERMINAL_STATES


class Outcome(StrEnum):
    """What was learnt of a recording at one moment: the last column of every event."""

    DISCOVERED = "discovered"
    """Its execution was seen for the first time."""
    ENDED = "ended"
    """Its execution reached a terminal status, so that the recording may be asked for."""
    DESCRIBED = "described"
    """The provider said, or corrected, how long it should play."""
    ARCHIVED = "archived"
    """It was transferred, verified and published."""
    ADOPTED = "adopted"
    """It was found published by a run that died before it could say so."""
    NOT_READY = "not_ready"
    NOT_CONFIGURED = "not_configured"
    """Kataven's 503 "playback not configured": asked again, slowly."""
    ABSENT = "absent"
    PURGED = "purged"
    BLOCKED = "blocked"
    """401, 403, a bad account or base URL."""
    REFUSED = "refused"
    """The media address is not one that the settings allow."""
    RATE_LIMITED = "rate_limited"
    EXPIRED = "expired"
    """Every fresh link of this attempt lapsed before it was used."""
    TRANSIENT = "transient"
    STORAGE_FAULT = "storage_fault"
    """The archive root refused this one object."""
    NOT_MEDIA = "not_media"
    UNEXPECTED = "unexpected"
    REQUEUED = "requeued"
    """An operator asked for it again."""
    DAMAGED = "damaged"
    """An audit found that the copy is missing, or is not what was stored."""
    REPAIRED = "repaired"
    """It was fetched again, and stands beside the damaged copy."""
    RESTORED = "restored"
    """What an audit had found wrong is right without a new copy: the sidecar was written again, or somebody put the copy back."""
    REBUILT = "rebuilt"
    """Its events were lost; its sidecar says that it is archived."""


NOT_ATTEMPTS = frozenset(
    {
        Outcome.DISCOVERED,
        Outcome.ENDED,
        Outcome.DESCRIBED,
        Outcome.REQUEUED,
        Outcome.DAMAGED,
        Outcome.RESTORED,
        Outcome.REBUILT,
    }
)
"""Facts about the execution or the copy, or an order; every other outcome is a try to archive."""

COPY_IS_THERE = frozenset({Outcome.ARCHIVED, Outcome.ADOPTED, Outcome.REPAIRED, Outcome.REBUILT})
"""Outcomes after which a recording is archived."""

SPENDS_ATTEMPT = frozenset(
    {
        Outcome.ARCHIVED,
        Outcome.NOT_READY,
        Outcome.NOT_CONFIGURED,
        Outcome.ABSENT,
        Outcome.PURGED,
        Outcome.TRANSIENT,
        Outcome.NOT_MEDIA,
        Outcome.UNEXPECTED,
    }
)
"""Outcomes that say something about the recording itself; the others are about us, our settings or our pace."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient the archive is. Durations are in seconds unless named otherwise.

    Attributes:
        base, slow, maximum: pauses of the backoff; ``slow`` is the first one where a provider is not configured.
        attempt_limit, deadline: tries, and time since the first one, after which a recording is a dead letter.
        suspect_limit, suspect_days: so many bodies that were no media, over at least this time, make one as well: an error page
            may stand in front of everything for some hours.
        absent_grace: how long after an execution's end "there is none" is not believed.
        absent_answers: how many tries it takes at least: a provider in trouble may say it of everything for a minute.
        blocked_recheck: pause after an operator's fault.
        jitter: share of a pause by which it varies.
    """

    base: float = 60.0
    slow: float = 3600.0
    maximum: float = 6 * 3600.0
    attempt_limit: int = 50
    suspect_limit: int = 5
    suspect_days: timedelta = timedelta(days=1)
    deadline: timedelta = timedelta(days=14)
    absent_grace: float = 24 * 3600.0
    absent_answers: int = 2
    blocked_recheck: float = 900.0
    jitter: float = 0.2

    @classmethod
    def from_settings(cls, settings: Settings) -> Policy:
        """Return the policy that the operator chose."""
        return cls(
            base=settings.retry_base_seconds,
            slow=settings.retry_slow_seconds,
            maximum=max(settings.retry_max_seconds, settings.retry_slow_seconds),
            attempt_limit=settings.retry_attempt_limit,
            deadline=timedelta(days=settings.retry_deadline_days),
            absent_grace=settings.absent_grace_seconds,
            blocked_recheck=settings.blocked_recheck_seconds,
        )


@dataclass(frozen=True, slots=True)
class Life:
    """The part of a recording's record that the lifecycle decides.

    Attributes:
        attempts: tries so far that said something about the recording; never goes down.
        attempts_before: ``attempts`` at the last requeue; the limits count from there.
        suspects: bodies in this epoch that were no recording.
        epoch: how often an operator has requeued it.
        next_attempt_at: UTC; None while it waits for its execution to end, and in terminal states.
        eligible_since: UTC moment since when it may be asked for; None while its execution runs.
        trying_since: UTC moment of the first try of this epoch that said something about it; the deadline counts from there.
        ended_at: UTC end of its execution; where the provider does not say it, when the archive first saw it ended.
    """

    state: State = State.PENDING
    attempts: int = 0
    attempts_before: int = 0
    suspects: int = 0
    epoch: int = 0
    next_attempt_at: datetime | None = None
    eligible_since: datetime | None = None
    trying_since: datetime | None = None
    ended_at: datetime | None = None

    @property
    def terminal(self) -> bool:
        """True when nothing but a requeue (or nothing at all) leaves this state."""
        return self.state in TERMINAL_STATES


@dataclass(frozen=True, slots=True)
class Fact:
    """One outcome, with what the other side said about time.

    Attributes:
        retry_after: seconds that it asked us to wait, or None.
        execution_ended: for ``discovered``: True when the execution has ended.
        ended_at: for ``discovered`` and ``ended``: UTC end of the execution, if it is known.
    """

    outcome: Outcome
    retry_after: float | None = None
    execution_ended: bool = True
    ended_at: datetime | None = None


def transition(life: Life | None, fact: Fact, now: datetime, policy: Policy, key: RecordingKey) -> Life:
    """Return the life after ``fact``, learnt at ``now``.

    Args:
        life: what was known before; None for a recording that was never heard of.
        fact: what was learnt.
        now: UTC.
        policy: the operator's patience.
        key: whose jitter it is.
    """
    life = life or Life()
    outcome = fact.outcome
    if life.state is State.ARCHIVED or outcome in (Outcome.DAMAGED, Outcome.DESCRIBED):
        return life
    if outcome is Outcome.REQUEUED:
        return _requeued(life, now)
    if outcome in COPY_IS_THERE:
        return _finished(life, State.ARCHIVED, outcome)
    if life.terminal:
        return life
    if outcome is Outcome.PURGED:
        return _finished(life, State.PURGED, outcome)
    if outcome in (Outcome.DISCOVERED, Outcome.ENDED):
        return _seen(life, fact, now)
    if outcome in (Outcome.BLOCKED, Outcome.REFUSED) and life.eligible_since is not None:
        pause = max(policy.blocked_recheck, fact.retry_after or 0.0)
        return replace(life, state=State.BLOCKED, next_attempt_at=now + timedelta(seconds=pause))
    return _unsuccessful(life, fact, now, policy, key)


def is_due(life: Life, now: datetime) -> bool:
    """Return whether the recording should be asked for at ``now``."""
    return not life.terminal and life.next_attempt_at is not None and life.next_attempt_at <= now


def backoff(tries: int, base: float, policy: Policy, key: RecordingKey) -> timedelta:
    """Return the pause after the ``tries``-th unsuccessful try: doubling, capped, with a jitter that the key decides.

    The jitter spreads recordings that failed together; being a hash, it makes the same history give the same times.
    """
    pause = min(policy.maximum, base * 2.0 ** min(max(tries - 1, 0), 32))
    digest = hashlib.blake2b(f"{key}:{tries}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    unit = int.from_bytes(digest) / 2**64
    return timedelta(seconds=pause * (1.0 + policy.jitter * (2.0 * unit - 1.0)))


def _seen(life: Life, fact: Fact, now: datetime) -> Life:
    ended_at = fact.ended_at or life.ended_at
    if not fact.execution_ended or life.eligible_since is not None:
        return replace(life, ended_at=ended_at)
    return replace(life, ended_at=ended_at or now, eligible_since=now, next_attempt_at=now)


def _finished(life: Life, state: State, outcome: Outcome) -> Life:
    spent = 1 if outcome in SPENDS_ATTEMPT else 0
    return replace(life, state=state, attempts=life.attempts + spent, next_attempt_at=None)


def _requeued(life: Life, now: datetime) -> Life:
    return replace(
        life,
        state=State.PENDING,
        attempts_before=life.attempts,
        suspects=0,
        epoch=life.epoch + 1,
        next_attempt_at=now,
        eligible_since=now,
        trying_since=None,
    )


def _unsuccessful(life: Life, fact: Fact, now: datetime, policy: Policy, key: RecordingKey) -> Life:
    outcome = fact.outcome
    spent = outcome in SPENDS_ATTEMPT
    if life.eligible_since is None:
        # Asked for by hand while its execution runs: it goes on waiting for the end.
        return replace(life, attempts=life.attempts + spent)
    if spent:
        # The operator's time to mend a key or a setting does not count against the recording, nor does any time before a try.
        since = life.trying_since if life.state is not State.BLOCKED else None
        suspects = life.suspects + (outcome is Outcome.NOT_MEDIA)
        life = replace(life, attempts=life.attempts + 1, suspects=suspects, trying_since=since or now)
    tries = life.attempts - life.attempts_before
    if outcome is Outcome.ABSENT and tries >= policy.absent_answers and _old_enough(life, now, policy):
        return replace(life, state=State.ABSENT, next_attempt_at=None)
    if spent and (tries >= policy.attempt_limit or _too_long(life, now, policy)):
        return replace(life, state=State.FAILED, next_attempt_at=None)
    base = policy.slow if outcome is Outcome.NOT_CONFIGURED else policy.base
    pause = max(backoff(max(tries, 1), base, policy, key), timedelta(seconds=fact.retry_after or 0.0))
    waiting = outcome in (Outcome.NOT_READY, Outcome.NOT_CONFIGURED, Outcome.ABSENT)
    state = State.NOT_READY if waiting else (State.PENDING if life.state is State.BLOCKED else life.state)
    return replace(life, state=state, next_attempt_at=now + pause)


def _old_enough(life: Life, now: datetime, policy: Policy) -> bool:
    """A provider's "there is none" counts only some time after the execution: uploads lag behind the end of a run."""
    since = life.ended_at or life.eligible_since or now
    return now - since >= timedelta(seconds=policy.absent_grace)


def _too_long(life: Life, now: datetime, policy: Policy) -> bool:
    tried = now - (life.trying_since or now)
    return tried > policy.deadline or (life.suspects >= policy.suspect_limit and tried >= policy.suspect_days)
