"""What a recording may be and take."""

from __future__ import annotations

from dataclasses import dataclass

from resources.errors import NotMediaError, Subject


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What a recording may be and take, over all answers that it comes in.

    Attributes:
        max_bytes: a larger body is refused, by its length before it flows or while it does.
        min_bytes: a smaller one is no recording.
        stall_seconds: how long it may flow slower than ``min_bytes_per_second``; whole seconds, at least 1.
        min_bytes_per_second: see ``stall_seconds``.
        deadline_seconds: for everything from the first question to the last byte.
    """

    max_bytes: int
    min_bytes: int
    stall_seconds: int
    min_bytes_per_second: int
    deadline_seconds: float

    def check_size(self, subject: Subject, size: int) -> None:
        """Raise NotMediaError for more than ``max_bytes``."""
        if size > self.max_bytes:
            raise NotMediaError(subject, f"the body is larger than MEDIA_MAX_BYTES ({self.max_bytes} bytes)")

    def check_minimum(self, subject: Subject, size: int) -> None:
        """Raise NotMediaError for less than ``min_bytes``."""
        if size < self.min_bytes:
            raise NotMediaError(subject, f"the body has {size} bytes, fewer than MEDIA_MIN_BYTES ({self.min_bytes})")
