"""Executions and their recordings: what they are, and the moments of their lives."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from sandbox.media import MediaPlan
from sandbox.scenarios import Drift, Leg, Scenario


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording that an archive should know of.

    Attributes:
        media: what its bytes are; None when there never are any.
    """

    provider: str
    execution_id: str
    leg: Leg
    scenario: Scenario
    media: MediaPlan | None

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity: provider, execution id, leg."""
        return (self.provider, self.execution_id, self.leg)

    @property
    def path(self) -> str:
        """The path of its object at the media origin."""
        extension = self.media.container if self.media else "bin"
        return f"/{self.provider}-recordings/executions/{self.execution_id}/{self.leg}.{extension}"


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of an agent, with all the moments of its life (UTC).

    Attributes:
        number: its place in the provider's part of the world, in the order of the plan.
        created_at: its day is the partition.
        visible_at: when its row appears in the provider's list; None means always.
        ended_at: when it ends or ended; None means never.
        ready_at: when its recordings are uploaded; None means never.
        purged_at: when the provider's retention removes its data; None means never.
    """

    provider: str
    execution_id: str
    number: int
    scenario: Scenario
    drift: Drift
    created_at: datetime
    visible_at: datetime | None
    ended_at: datetime | None
    ready_at: datetime | None
    purged_at: datetime | None
    recordings: tuple[Recording, ...] = field(repr=False)

    @property
    def date(self) -> date:
        """The UTC day of creation."""
        return self.created_at.date()

    def has_ended(self, now: datetime) -> bool:
        """Tell whether it is terminal at ``now``."""
        return self.ended_at is not None and self.ended_at <= now

    def is_purged(self, now: datetime) -> bool:
        """Tell whether it is a tombstone at ``now``."""
        return self.purged_at is not None and self.purged_at <= now

    def is_visible(self, now: datetime) -> bool:
        """Tell whether the provider lists it at ``now``."""
        return self.visible_at is None or self.visible_at <= now

    def is_ready(self, now: datetime) -> bool:
        """Tell whether its recordings are uploaded at ``now`` (scenarios that count asks aside)."""
        return self.ready_at is not None and self.ready_at <= now and not self.is_purged(now)


def timestamp(moment: datetime) -> str:
    """Return ``moment`` as ISO 8601 in UTC with a Z, microseconds only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
