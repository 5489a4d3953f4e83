"""A client-side rate limiter: several sliding windows, and a most of requests in flight.

Written here because the kept libraries do not take a clock and a sleep from outside, which a test without waiting needs:
pyrate-limiter 4.5.1 lets the bucket's clock be replaced, but its limiter imports ``monotonic`` and ``sleep`` from ``time`` for
the deadline and the wait; limits 5.8.0 calls ``time.time()`` in its memory storage and runs a timer thread. Neither counts
requests in flight.

The limiter knows its own process. What two runs together, or one after the other, ask is counted by
:mod:`resources.providers.turns`, which it asks last where the runtime has it.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from resources.errors import RateLimitedError, SettingsError, Subject
from resources.providers.protocol import Runtime

PATIENCE_SECONDS = 60.0
"""The longest that a call waits for its turn. Beyond it the run does better to end, and the sensor to return."""

_UNIT_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_RATE = re.compile(r"(?P<limit>\d{1,9})\s*/\s*(?P<unit>second|minute|hour|day)s?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``limit`` requests in any span of ``seconds``."""

    limit: int
    seconds: float


def parse_rates(text: str, setting: str) -> tuple[Rate, ...]:
    """Return the rates of a setting such as ``60/minute,1000/hour,10000/day``; an empty text means no limit.

    Raises:
        SettingsError: a part is not ``<number>/<second|minute|hour|day>`` with a number above 0; names ``setting``.
    """
    rates: list[Rate] = []
    for part in (piece.strip() for piece in text.split(",") if piece.strip()):
        match = _RATE.fullmatch(part)
        if match is None or int(match["limit"]) == 0:
            msg = f"{setting}: {part!r} is not a rate. Write <number>/<second|minute|hour|day>, for instance 60/minute,1000/hour."
            raise SettingsError(msg)
        rates.append(Rate(int(match["limit"]), _UNIT_SECONDS[match["unit"].lower()]))
    return tuple(rates)


class RateLimiter:
    """Gives each request its turn. Safe to use from several threads.

    A turn is reserved under a lock and then waited for without it, so requests go in the order in which they came and no
    thread wakes only to wait again. Who waits counts as in flight: a request leaves as soon as its turn has come.
    """

    def __init__(
        self,
        rates: tuple[Rate, ...],
        max_in_flight: int,
        runtime: Runtime,
        *,
        patience: float = PATIENCE_SECONDS,
        provider: str | None = None,
    ) -> None:
        """Make a limiter that starts with empty windows; with a ``provider``, its turns are shared with all other runs."""
        self._rates = rates
        self._runtime = runtime
        self._patience = patience
        self._lock = threading.Lock()
        self._turns: deque[float] = deque(maxlen=max((rate.limit for rate in rates), default=1))
        self._held_until = float("-inf")
        self._in_flight = threading.BoundedSemaphore(max_in_flight)
        limits = [(rate.limit, rate.seconds) for rate in rates]
        self._shared = runtime.turns(provider, limits, patience) if provider and limits and runtime.turns else None

    @contextmanager
    def turn(self, subject: Subject) -> Generator[None]:
        """Wait for a turn, and count as in flight while the block runs.

        Raises:
            RateLimitedError: the wait would be longer than the patience; nothing was sent.
            StorageError: the turns are shared, and the archive root cannot be asked.
        """
        with self._in_flight:
            at = self._reserve(subject)
            while (wait := at - self._runtime.monotonic()) > 0:
                self._runtime.sleep(wait)
            if self._shared is not None:
                self._shared.take(subject)
            yield

    def close(self) -> None:
        """Give back turns that were taken for this process and not used."""
        if self._shared is not None:
            self._shared.release()

    def hold(self, seconds: float) -> None:
        """Give no turn for ``seconds`` from now: the provider answered 429, and the other threads would only meet the same."""
        with self._lock:
            self._held_until = max(self._held_until, self._runtime.monotonic() + seconds)

    def _reserve(self, subject: Subject) -> float:
        with self._lock:
            now = self._runtime.monotonic()
            at = max(now, self._held_until)
            for rate in self._rates:
                if len(self._turns) >= rate.limit:
                    at = max(at, self._turns[-rate.limit] + rate.seconds)
            if at - now > self._patience:
                raise RateLimitedError(
                    subject,
                    f"not asked: the rate limit leaves no turn for {at - now:.0f} s",
                    retry_after=at - now,
                )
            self._turns.append(at)
            return at
