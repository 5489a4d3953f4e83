"""What the open recordings of a provider wait for, in a few numbers: enough to know that there is nothing to do."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pyarrow as pa

from assets.recordings.lifecycle import State
from resources.arrow import compute as pc


class Waiting(msgspec.Struct, frozen=True):
    """The open recordings of one moment.

    Attributes:
        timed: how many wait for a time of their own and are not blocked.
        earliest: the first of these times, UTC.
        blocked: how many are blocked; they wait together.
        blocked_until: when they are asked for again, UTC.
        running: how many wait for their execution to end.
    """

    timed: int = 0
    earliest: datetime | None = None
    blocked: int = 0
    blocked_until: datetime | None = None
    running: int = 0

    @classmethod
    def of(cls, opened: pa.Table) -> Waiting:
        """Count open recordings."""
        moments, is_blocked = opened["next_attempt_at"], pc.equal(opened["state"], State.BLOCKED.value)
        timed = moments.filter(pc.invert(is_blocked)).drop_null()
        blocked = int(pc.sum(is_blocked).as_py() or 0)
        until = pc.max(moments.filter(is_blocked)).as_py()
        return cls(len(timed), pc.min(timed).as_py(), blocked, until, moments.null_count)

    @property
    def next_at(self) -> datetime | None:
        """When something is due for the first time, UTC; None where nothing waits for a time."""
        return min((moment for moment in (self.earliest, self.blocked_until) if moment is not None), default=None)
