"""What a run did, for Dagster metadata, the command line and the asset checks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

from assets.recordings.lifecycle import Outcome, State

WORST_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """One recording that did not get archived this time."""

    execution_id: str
    leg: str
    state: State
    outcome: Outcome
    http_status: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One copy that plays for another time than its provider says; seconds.

    Attributes:
        execution_id, leg: which recording.
        media_seconds: by its own account.
        expected_seconds: by the provider's.
        path: of the copy, relative to the archive root.
    """

    execution_id: str
    leg: str
    media_seconds: float | None
    expected_seconds: float | None
    path: str

    def __str__(self) -> str:
        return f"{self.path} plays {self.media_seconds or 0:.1f} s, and the provider says {self.expected_seconds or 0:.1f} s"


_WORST_FIRST = (State.FAILED, State.BLOCKED, State.PENDING, State.NOT_READY, State.ABSENT, State.PURGED)


@dataclass(slots=True)
class DayReport:
    """What happened to the recordings of one partition.

    Attributes:
        provider, day: which partition.
        known: recordings in the ledger.
        already_archived: of these, archived before this run: not asked for again.
        due: recordings that were taken up.
        states: the states that the due ones are in now.
        bytes, seconds: stored by this run, and the time that it took.
        links: how many presigned URLs were asked for, those to go on with after a break too.
        continuations: how often a transfer broke and went on where it stopped.
        faults: the due ones that are not archived now.
        copies: recordings of the partition that have a copy, whenever it was made.
        unknown_lengths: of these, copies whose playing time could not be told.
        mismatches: of these, copies that play for another time than the provider says.
        dry_run: True when nothing was asked or written.
    """

    provider: str
    day: date
    known: int = 0
    already_archived: int = 0
    due: int = 0
    states: Counter[State] = field(default_factory=Counter[State])
    bytes: int = 0
    seconds: float = 0.0
    links: int = 0
    continuations: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])
    copies: int = 0
    unknown_lengths: int = 0
    mismatches: list[Mismatch] = field(default_factory=list[Mismatch])
    dry_run: bool = False

    @property
    def megabytes_per_second(self) -> float:
        """Stored bytes over the run's seconds, in MB (10**6) a second."""
        return self.bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0

    @property
    def went_wrong(self) -> int:
        """Recordings that need a person: dead letters, and those that the settings block."""
        return self.states[State.FAILED] + self.states[State.BLOCKED]

    @property
    def worst(self) -> list[Fault]:
        """The faults that a person should see first, at most :data:`WORST_ERRORS`."""
        return sorted(self.faults, key=lambda fault: _WORST_FIRST.index(fault.state))[:WORST_ERRORS]
