"""A snapshot in the making: new files beside the old ones, and the one step that names them.

A process that dies before its snapshot has changed nothing; what it wrote is swept by a later compaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from assets.recordings.ledger import ids, places, snapshot
from assets.recordings.ledger.files import to_bytes
from assets.recordings.ledger.reading import Reader
from assets.recordings.ledger.snapshot import Leaving, Partition, Snapshot
from assets.recordings.ledger.standing import Standing
from assets.recordings.ledger.waiting import Waiting

TRIES = 5
DAYS_AT_ONCE = 64
"""How many days one snapshot goes further: what a kill can undo."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The open recordings as they are published: their file, and what they wait for."""

    path: str
    waiting: Waiting | None


@dataclass(slots=True)
class Next:
    """A snapshot in the making: what changes in comparison with ``taken``. ``number`` is one that it has to be beyond."""

    reader: Reader
    provider: str
    taken: Snapshot
    parts: dict[date, Partition]
    folded: set[str]
    leaving: set[str] = field(default_factory=set[str])
    number: int = 0

    @classmethod
    def after(cls, reader: Reader, provider: str, taken: Snapshot) -> Next:
        """Begin with everything as it is in ``taken``."""
        return cls(reader, provider, taken, dict(reader.partitions(taken)), set(taken.folded))

    @property
    def generation(self) -> int:
        """The number of the snapshot."""
        return max(self.taken.generation, self.number) + 1

    def set_state(self, day: date, state: pa.Table, folded: Iterable[str]) -> None:
        """Store the state of a day, which ``folded`` went into beside what its history has."""
        path = places.new_state_path(self.provider, day, self.generation)
        self.reader.storage.create(path, to_bytes(state))
        before = self.parts.get(day)
        if before is not None:
            self.leaving.add(before.state)
        counted = Standing.of(state)
        kept = (before.history, before.events) if before is not None else (None, 0)
        self.parts[day] = Partition(
            day, path, counted.recordings, counted.states, counted.bytes, counted.flaws, *kept, tuple(sorted(folded))
        )

    def publish(self, opened: Opened, index: Sequence[ids.Segment], bases: Iterable[str]) -> bool:
        """Store the list of days, and make the snapshot the current one; say whether it is."""
        open_recordings = opened.path
        storage, taken = self.reader.storage, self.taken
        days = f"{places.new_stem(self.provider, self.generation)}.days.json"
        storage.create(days, snapshot.encode_partitions(self.parts.values()))
        now = storage.info(days).modified
        # A month's file stays for as long as one day's state is the one in it.
        states = (part.state for part in self.parts.values())
        named = {days, open_recordings, *(segment.path for segment in index), *states}
        former = {*taken.own_files, *self.leaving} - named
        known = {each.path for each in taken.leaving}
        left = (Leaving(path, self.generation, now) for path in sorted(former - known))
        made = Snapshot(
            self.generation,
            days,
            open_recordings,
            tuple(index),
            tuple(sorted(bases)),
            tuple(sorted(self.folded)),
            (*taken.leaving, *left),
            opened.waiting,
        )
        return snapshot.publish(storage, self.provider, made)
