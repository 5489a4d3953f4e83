"""Which outcome an error is: the one place where types of errors become rows of the ledger."""

from __future__ import annotations

from assets.recordings.lifecycle import Fact, Outcome
from resources.errors import (
    AbsentError,
    BlockedError,
    LinkExpiredError,
    NotMediaError,
    NotReadyError,
    PurgedError,
    RateLimitedError,
    RecordingError,
    RefusedError,
    TransientError,
    UnexpectedAnswerError,
)

OUTCOMES: tuple[tuple[type[RecordingError], Outcome], ...] = (
    (NotReadyError, Outcome.NOT_READY),
    (RateLimitedError, Outcome.RATE_LIMITED),
    (LinkExpiredError, Outcome.EXPIRED),
    (TransientError, Outcome.TRANSIENT),
    (AbsentError, Outcome.ABSENT),
    (PurgedError, Outcome.PURGED),
    (BlockedError, Outcome.BLOCKED),
    (RefusedError, Outcome.REFUSED),
    (NotMediaError, Outcome.NOT_MEDIA),
    (UnexpectedAnswerError, Outcome.UNEXPECTED),
)
"""The first type that fits decides; subtypes stand before their parents."""


def fact_of(error: RecordingError) -> Fact:
    """Return the fact that an error states."""
    if isinstance(error, NotReadyError) and error.slow:
        return Fact(Outcome.NOT_CONFIGURED, retry_after=error.retry_after)
    outcome = next((outcome for kind, outcome in OUTCOMES if isinstance(error, kind)), Outcome.UNEXPECTED)
    return Fact(outcome, retry_after=error.retry_after)
