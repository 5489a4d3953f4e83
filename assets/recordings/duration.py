"""Does a copy play for as long as the provider says that it should? What is compared, and how exactly."""

from __future__ import annotations

from dataclasses import dataclass

from assets.recordings.events import Copy, Event, Flaw
from resources.model import RecordingKey
from resources.providers.protocol import Bound
from resources.providers.registry import PROVIDERS
from resources.settings import Settings


@dataclass(frozen=True, slots=True)
class Tolerance:
    """By how much a playing time may differ: by the larger of the two.

    Attributes:
        seconds: absolute.
        share: of the time that the provider says.
    """

    seconds: float = 5.0
    share: float = 0.05

    @classmethod
    def from_settings(cls, settings: Settings) -> Tolerance:
        """Return the tolerance that the operator chose."""
        return cls(settings.media_duration_tolerance_seconds, settings.media_duration_tolerance_share)

    def holds(self, media_seconds: float, expected_seconds: float, bound: Bound) -> bool:
        """Return whether a recording that plays for ``media_seconds`` is what the provider's number says."""
        allowed = max(self.seconds, self.share * expected_seconds)
        longer = media_seconds - expected_seconds
        return longer <= allowed and (bound is Bound.AT_MOST or -longer <= allowed)


def flaw_of(key: RecordingKey, copy: Copy, expected_seconds: float | None, tolerance: Tolerance) -> Flaw | None:
    """Return what is doubtful about the playing time of ``copy``; None also where either side says nothing."""
    spec = PROVIDERS.get(key.provider)
    length = spec.expected_lengths.get(key.leg) if spec is not None else None
    if length is None or copy.media_seconds is None or expected_seconds is None:
        return None
    return None if tolerance.holds(copy.media_seconds, expected_seconds, length.bound) else Flaw.DURATION


def flaw_after(event: Event, expected_seconds: float | None, tolerance: Tolerance) -> Flaw | None:
    """Return the flaw of an archived recording once the provider says ``expected_seconds``; what an audit found stays."""
    if event.copy is None or event.flaw in (Flaw.DAMAGED, Flaw.MISSING):
        return event.flaw
    return flaw_of(event.key, event.copy, expected_seconds, tolerance)
