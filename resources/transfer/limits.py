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
        require_length: refuse a body that announces no length. Chunked framing shows a body that was cut off, but not one that a
            failing host ended in good order.
    """

    max_bytes: int
    min_bytes: int
    stall_seconds: int
    min_bytes_per_second: int
    deadline_seconds: float
    require_length: bool

    def check_size(self, subject: Subject, size: int) -> None:
        """Raise NotMediaError for more than ``max_bytes``."""
        if size > self.max_bytes:
            raise NotMediaError(subject, f"the body is larger than MEDIA_MAX_BYTES ({self.max_bytes} bytes)")

    def check_announced(self, subject: Subject, length: int | None) -> None:
        """Check the announced length of a body; None where it announces none.

        Raises:
            NotMediaError: it is out of bounds, or missing where it is required.
        """
        if length is not None:
            self.check_size(subject, length)
            self.check_minimum(subject, length)
        elif self.require_length:
            detail = "the body announces no length, so one that ends early looks whole; see MEDIA_REQUIRE_LENGTH"
            raise NotMediaError(subject, detail)

    def check_minimum(self, subject: Subject, size: int) -> None:
        """Raise NotMediaError for less than ``min_bytes``."""
        if size < self.min_bytes:
            raise NotMediaError(subject, f"the body has {size} bytes, fewer than MEDIA_MIN_BYTES ({self.min_bytes})")
