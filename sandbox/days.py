"""When things are created: spread over whole UTC days, and never after the anchor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random

from sandbox.options import OptionError, WorldOptions
from sandbox.scenarios import ON_FIRST_DAY, ON_LAST_DAY, Scenario

_DAY = timedelta(days=1)
_QUIET = timedelta(minutes=5)
"""How long before the anchor the last creation is, at the latest, once the day is old enough for that."""
_EARLY = timedelta(hours=4)
"""What ended long ago is created this soon after the start of the first day."""
_RECENT = timedelta(minutes=25)
"""What runs, or ended just now, is created this soon before the end of the last day, or before the anchor."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The UTC days ``first`` to ``last``, both included, as far as the anchor lets them be filled."""

    first: date
    last: date
    anchor: datetime

    @classmethod
    def of(cls, options: WorldOptions, anchor: datetime) -> Calendar:
        """Return the days that ``options`` asks for.

        Raises:
            OptionError: the end date is after the anchor's day.
        """
        last = options.end_date or anchor.date()
        if last > anchor.date():
            msg = f"the end date {last} is in the future: the anchor is {anchor.isoformat()}"
            raise OptionError(msg)
        return cls(last - _DAY * (options.days - 1), last, anchor)

    def window(self) -> dict[str, str]:
        """Return the first and the last day as ISO dates."""
        return {"first": self.first.isoformat(), "last": self.last.isoformat()}

    def creation(self, rng: Random, number: int, scenario: Scenario, *, at_midnight: bool) -> datetime:
        """Return when the execution with this ``number`` and ``scenario`` is created."""
        days = (self.last - self.first).days + 1
        if scenario in ON_FIRST_DAY:
            return self._moment(rng, 0, before=_EARLY)
        if scenario in ON_LAST_DAY:
            return self._moment(rng, days - 1, recent=True)
        if scenario is Scenario.LATE_ROW:
            return self._moment(rng, rng.randrange(max(1, days - 1)))
        if at_midnight:
            return self._start(days - 1)
        return self._moment(rng, number % days)

    def _start(self, index: int) -> datetime:
        day = self.first + _DAY * index
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    def _moment(self, rng: Random, index: int, *, before: timedelta = _DAY, recent: bool = False) -> datetime:
        start = self._start(index)
        stop = min(start + before, self.anchor - _QUIET)
        if stop <= start:
            stop = start + (self.anchor - start) * 0.9
        if recent:
            start = max(start, stop - _RECENT)
        milliseconds = int((stop - start) / timedelta(milliseconds=1))
        return start + timedelta(milliseconds=rng.randrange(max(1, milliseconds)))
