"""Where the recordings of a provider or a partition stand, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from assets.recordings.ledger.snapshot import Partition
from assets.recordings.lifecycle import State
from resources.arrow import compute as pc


@dataclass(slots=True)
class Standing:
    """Recordings by state, bytes of archived copies, and copies by flaw."""

    states: dict[str, int] = field(default_factory=dict[str, int])
    bytes: int = 0
    flaws: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def recordings(self) -> int:
        """How many there are."""
        return sum(self.states.values())

    @classmethod
    def of(cls, state: pa.Table) -> Standing:
        """Count the winning events of a table."""
        archived = state.filter(pc.equal(state["state"], State.ARCHIVED.value))
        return cls(_counts(state["state"]), int(pc.sum(archived["bytes"]).as_py() or 0), _counts(state["flaw"].drop_null()))

    @classmethod
    def total(cls, parts: Iterable[Partition], others: Iterable[Standing]) -> Standing:
        """Add up partitions as they were folded, and others."""
        states, flaws, size = Counter[str](), Counter[str](), 0
        for each in (*parts, *others):
            states.update(each.states)
            flaws.update(each.flaws)
            size += each.bytes
        return cls(dict(states), size, dict(flaws))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in pc.value_counts(column).to_pylist()}
