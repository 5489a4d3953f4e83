"""The events of a run, written in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from resources.failpoints import Failpoint, reached


@dataclass(slots=True)
class EventBuffer:
    """Collects the events of a run and appends them in batches, so that a killed run loses at most one batch of *reports*.

    What such a run had published is found again by its recordings (see ``adopted``). Thread-safe.

    Args:
        ledger: where the events go.
        now: UTC clock, for the file names.
        monotonic: seconds, for the age of the oldest unwritten event.
    """

    ledger: Ledger
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    batch: int = 64
    max_age: float = 1.0
    _events: list[Event] = field(default_factory=list[Event])
    _oldest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, event: Event) -> None:
        """Take one event; writes the batch when it is full or old."""
        with self._lock:
            if not self._events:
                self._oldest = self.monotonic()
            self._events.append(event)
            reached(Failpoint.EVENT_BUFFERED)
            if len(self._events) >= self.batch or self.monotonic() - self._oldest >= self.max_age:
                self._write()

    def flush(self) -> None:
        """Write what is left."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._events:
            self.ledger.append(self._events, self.now())
            self._events = []
