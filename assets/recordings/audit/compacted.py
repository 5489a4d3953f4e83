"""What was folded and compacted at one moment: a witness of the events, for as long as a check of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import msgspec

from assets.recordings.events import Event, from_table
from assets.recordings.ledger import Ledger
from assets.recordings.ledger.snapshot import Partition, Snapshot, newest_number
from resources.errors import DamagedError, NotStoredError


@dataclass(frozen=True, slots=True)
class Compacted:
    """The snapshot of one provider's ledger at one moment.

    Attributes:
        ledger: of the archive.
        provider: whose.
        generation: of the snapshot; 0 where nothing has been folded, or it cannot be read.
        parts: its partitions.
        folded: every event file that it knows of by name.
        is_lenient: whether a state that is gone or damaged counts as none.
    """

    ledger: Ledger
    provider: str
    generation: int
    parts: Mapping[date, Partition]
    folded: frozenset[str]
    is_lenient: bool = False

    @classmethod
    def of(cls, ledger: Ledger, provider: str) -> Compacted:
        """Take the current snapshot."""
        taken = ledger.snapshot(provider)
        try:
            return cls._of(ledger, provider, taken or Snapshot(), ledger.partitions_of(taken))
        except NotStoredError:  # what a fold makes was deleted: it is no witness any more
            return cls._of(ledger, provider, Snapshot(folded=taken.folded if taken is not None else ()), {})

    @classmethod
    def readable(cls, ledger: Ledger, provider: str) -> Compacted:
        """Take the newest snapshot that can be read, for who is about to make everything again.

        What is gone or damaged is no witness. An older snapshot does not say which files of compacted events are current.
        """
        taken, parts = ledger.readable(provider)
        if taken.generation < newest_number(ledger.storage, provider):
            taken = msgspec.structs.replace(taken, generation=0)
            parts = {day: msgspec.structs.replace(part, history=None) for day, part in parts.items()}
        return cls._of(ledger, provider, taken, parts, is_lenient=True)

    @classmethod
    def _of(
        cls, ledger: Ledger, provider: str, taken: Snapshot, parts: Mapping[date, Partition], *, is_lenient: bool = False
    ) -> Compacted:
        named = {path for part in parts.values() for path in part.folded}
        return cls(ledger, provider, taken.generation, parts, frozenset({*named, *taken.folded}), is_lenient)

    def events_of(self, day: date) -> list[Event]:
        """Return the winning events of one partition, without the tail."""
        try:
            return from_table(self.ledger.state_of(self.provider, self.parts.get(day)))
        except (NotStoredError, DamagedError):
            if not self.is_lenient:
                raise
            return []

    def path_of(self, day: date) -> str:
        """Return the path of a partition's state; empty where it has none."""
        part = self.parts.get(day)
        return part.state if part is not None else ""

    def history_of(self, day: date) -> str | None:
        """Return the path of a partition's compacted events; None where it has none."""
        part = self.parts.get(day)
        return part.history if part is not None else None

    def folded_of(self, day: date) -> frozenset[str]:
        """Return the event files that a partition's state was made of, and that no compacted events stand for."""
        part = self.parts.get(day)
        return frozenset(part.folded) if part is not None else frozenset()
