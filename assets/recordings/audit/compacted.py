"""What was folded and compacted at one moment: a witness of the events, for as long as a check of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from assets.recordings.events import Event, from_table
from assets.recordings.ledger import Ledger
from assets.recordings.ledger.snapshot import Partition
from resources.errors import NotStoredError


@dataclass(frozen=True, slots=True)
class Compacted:
    """The snapshot of one provider's ledger at one moment.

    Attributes:
        ledger: of the archive.
        provider: whose.
        generation: of the snapshot; 0 where nothing has been folded.
        parts: its partitions.
        folded: every event file that it knows of by name.
    """

    ledger: Ledger
    provider: str
    generation: int
    parts: Mapping[date, Partition]
    folded: frozenset[str]

    @classmethod
    def of(cls, ledger: Ledger, provider: str) -> Compacted:
        """Take the current snapshot."""
        taken = ledger.snapshot(provider)
        try:
            parts = ledger.partitions_of(taken)
        except NotStoredError:  # what a fold makes was deleted: it is no witness any more
            parts = {}
        named = {path for part in parts.values() for path in part.folded}
        return cls(
            ledger,
            provider,
            taken.generation if taken is not None else 0,
            parts,
            frozenset({*named, *(taken.folded if taken is not None else ())}),
        )

    def events_of(self, day: date) -> list[Event]:
        """Return the winning events of one partition, without the tail."""
        return from_table(self.ledger.state_of(self.provider, self.parts.get(day)))

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
