"""Trying again inside a run: a few times, for faults that seconds may heal, and never longer than the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from resources.errors import LinkExpiredError, RecordingError, TransientError
from resources.settings import Settings

FRESH_LINKS = 4
"""How many links in a row may bring nothing: a link may lapse while the transfer waits for a connection."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How a run tries again.

    Attributes:
        retries: tries after the first one.
        budget: seconds of pauses that one question may cost; a longer Retry-After ends the trying.
        sleep: takes seconds; injected.
    """

    retries: int
    budget: float
    sleep: Callable[[float], None]

    @classmethod
    def from_settings(cls, settings: Settings, sleep: Callable[[float], None]) -> Patience:
        """Return the patience that the operator chose."""
        return cls(settings.transient_retries, settings.transient_budget_seconds, sleep)

    def call(self, ask: Callable[[], _Answer]) -> _Answer:
        """Return what ``ask`` returns, calling it again after a transient fault.

        The other side's Retry-After is kept. An expired link is replaced at once. Where one patience is used inside another,
        what ends the inner one ends the outer one too: their tries do not multiply.

        Raises:
            TransientError: the last one, when the patience is over; it is marked as exhausted. An expired link is not: whoever
                can begin again with another link may do so.
            RecordingError: anything else, at once.
        """
        trying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_heal),
            wait=_pause,
            stop=self._over,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return trying(ask)
        except TransientError as error:
            error.exhausted = error.exhausted or not isinstance(error, LinkExpiredError)
            raise

    def _over(self, state: tenacity.RetryCallState) -> bool:
        tries = FRESH_LINKS if isinstance(_error_of(state), LinkExpiredError) else self.retries + 1
        return state.attempt_number >= tries or state.idle_for + _pause(state) > self.budget


_growing = tenacity.wait_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE) + tenacity.wait_random(0, _FIRST_PAUSE)


def _may_heal(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not error.exhausted


def _pause(state: tenacity.RetryCallState) -> float:
    error = _error_of(state)
    if isinstance(error, LinkExpiredError):
        return 0.0
    asked = error.retry_after if isinstance(error, RecordingError) else None
    return max(_growing(state), asked or 0.0)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
