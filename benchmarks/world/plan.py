"""How many executions each provider has on each day, and what becomes of each recording."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from resources.providers.registry import PROVIDERS

LAST_DAY = date(2026, 11, 20)
"""The last day of every made-up past: a fixed one, so that a lake does not depend on when it was made."""
NOW = datetime.combine(LAST_DAY + timedelta(days=1), time(6), UTC)
"""The moment at which the past ends."""

_SHARES = {"asteroid": 0.36, "feather": 0.36, "kataven": 0.28}
_WEEKDAYS = (1.15, 1.2, 1.2, 1.15, 1.1, 0.6, 0.6)
_GROWTH = 1.5
"""By how much more the last day has than the first."""
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class Unit:
    """One partition.

    Attributes:
        provider, day: which one.
        executions: how many it has.
        first: the number of its first execution among all of its provider.
        seed: of the whole past.
    """

    provider: str
    day: date
    executions: int
    first: int
    seed: int

    @property
    def name(self) -> str:
        """Names its random numbers."""
        return f"{self.seed}/{self.provider}/{self.day}"


def units(executions: int, days: int, seed: int) -> list[Unit]:
    """Return the partitions of a past of so many executions and days, ascending by day; those without executions are left out."""
    first = LAST_DAY - timedelta(days=days - 1)
    weights = [_weight(first + timedelta(days=offset), offset / days) for offset in range(days)]
    found: list[Unit] = []
    for provider, share in zip(PROVIDERS, _parts(executions, [_SHARES[name] for name in PROVIDERS]), strict=True):
        before = 0
        for offset, count in enumerate(_parts(share, weights)):
            found.append(Unit(provider, first + timedelta(days=offset), count, before, seed))
            before += count
    return sorted((unit for unit in found if unit.executions), key=lambda unit: unit.day)


def even(number: int) -> float:
    """Return a number of [0, 1) for each whole number: any run of neighbours is spread evenly, so that shares come out exact."""
    return number * _GOLDEN % 1.0


def _weight(day: date, progress: float) -> float:
    return _WEEKDAYS[day.weekday()] * (1 + (_GROWTH - 1) * progress)


def _parts(total: int, weights: Sequence[float]) -> list[int]:
    """Cut ``total`` into whole parts of these weights."""
    bounds = [round(total * reached / sum(weights)) for reached in itertools.accumulate(weights, initial=0.0)]
    return [end - start for start, end in itertools.pairwise(bounds)]
