"""The stories that recordings and rows go through. Each is present at least once in the default world, where it makes sense."""

from __future__ import annotations

from enum import StrEnum


class Leg(StrEnum):
    """Which recording of an execution."""

    MAIN = "main"
    SUPERVISOR = "supervisor"


class Scenario(StrEnum):
    """What happens to one recording, and to the execution around it."""

    READY = "ready"
    NOT_READY_ASKS = "not-ready-asks"
    """Ended just now; "not ready" for ``not_ready_asks`` asks, then ready."""
    NOT_READY_SECONDS = "not-ready-seconds"
    """Ended just now; "not ready" until ``late_seconds`` after the start."""
    NEVER_READY = "never-ready"
    """Ended, and "not ready" for ever."""
    ABSENT = "absent"
    """Ended long ago without a recording."""
    SUPERVISOR = "supervisor"
    """A warm transfer with both legs."""
    SUPERVISOR_ABSENT = "supervisor-absent"
    """A warm transfer whose supervisor leg was not recorded."""
    STILL_RUNNING = "still-running"
    """Created on the last day; ends ``late_seconds`` after the start."""
    LONG_RUNNING = "long-running"
    """Created on the first day; ends ``late_seconds`` after the start."""
    QUEUED = "queued"
    """Waits, in a status that the document does not know, and ends ``late_seconds`` after the start."""
    NEVER_ENDS = "never-ends"
    """In a status that nobody has heard of, for ever."""
    LATE_ROW = "late-row"
    """Created on an earlier day; its row appears ``late_seconds`` after the start."""
    PURGED = "purged"
    """A tombstone from the start."""
    PURGED_LATER = "purged-later"
    """Ready at once; a tombstone from ``purge_seconds`` on."""
    RATE_LIMITED = "rate-limited-once"
    """The first ask is answered 429 with Retry-After."""
    SERVER_ERRORS = "server-errors"
    """The first ``server_errors`` asks are answered 500."""
    NOT_CONFIGURED = "not-configured"
    """The first ``not_ready_asks`` asks are answered 503 "Recording playback not configured"."""
    MEDIA_ERROR = "media-500-once"
    """The first GET at the media host is answered 500."""
    MEDIA_CUT = "media-cut-once"
    """The first GET at the media host loses its connection in mid-body."""
    LINK_EXPIRED = "link-expired-once"
    """The first presigned URL has expired when it is handed out."""
    WRONG_LENGTH = "wrong-length"
    """The provider says a length that cannot be the recording's: too long for a call, too short for a video."""


class FinalState(StrEnum):
    """What an archive should say of a recording in the end."""

    ARCHIVED = "archived"
    ABSENT = "absent"
    PURGED = "purged"
    PENDING = "pending"


class Drift(StrEnum):
    """How the metadata of an execution departs from the document."""

    NONE = "none"
    NEW_GENERATION = "new-generation"
    WARMUP = "warmup"
    ACTOR = "actor"
    UNKNOWN_FIELDS = "unknown-fields"
    UNKNOWN_WORDS = "unknown-words"
    BADLY_TYPED = "badly-typed"
    HIDDEN_LINK = "hidden-link"
    OTHER_TRANSCRIPT = "other-transcript"
    MIDNIGHT = "midnight"


ENDS_LATE = frozenset({Scenario.STILL_RUNNING, Scenario.LONG_RUNNING, Scenario.QUEUED})
ENDED_JUST_NOW = frozenset({Scenario.NOT_READY_ASKS, Scenario.NOT_READY_SECONDS, Scenario.NEVER_READY})
ON_FIRST_DAY = frozenset({Scenario.ABSENT, Scenario.PURGED, Scenario.LONG_RUNNING})
ON_LAST_DAY = frozenset({Scenario.STILL_RUNNING, Scenario.QUEUED, Scenario.NEVER_ENDS}) | ENDED_JUST_NOW

_FINAL_STATES: dict[Scenario, tuple[FinalState, ...]] = {
    Scenario.NEVER_READY: (FinalState.PENDING,),
    Scenario.NEVER_ENDS: (FinalState.PENDING,),
    Scenario.ABSENT: (FinalState.ABSENT,),
    Scenario.PURGED: (FinalState.PURGED,),
    Scenario.PURGED_LATER: (FinalState.ARCHIVED, FinalState.PURGED),
}


def final_states(scenario: Scenario) -> tuple[FinalState, ...]:
    """Return the states that are right in the end, the likeliest first."""
    return _FINAL_STATES.get(scenario, (FinalState.ARCHIVED,))
