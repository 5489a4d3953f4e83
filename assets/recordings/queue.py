"""What should be launched now: the due queue of the retry sensor, and the open partitions of the schedule.

Only the ledger is asked, never a provider.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from assets.recordings.events import Event
from assets.recordings.lifecycle import State, is_due

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DayRange:
    """Neighbouring UTC days, both ends included, that one run takes together."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        """All days of the range."""
        return [self.first + timedelta(days=offset) for offset in range((self.last - self.first).days + 1)]

    def __str__(self) -> str:
        return self.first.isoformat() if self.first == self.last else f"{self.first.isoformat()}..{self.last.isoformat()}"


@dataclass(frozen=True, slots=True)
class Queue:
    """The open recordings of one provider at one moment.

    Attributes:
        due: how many are due in each partition.
        waiting: how many wait for a time of their own.
        next_at: the earliest of those times, UTC.
        running: how many wait for their execution to end.
        blocked: how many are blocked by a setting.
    """

    due: dict[date, int]
    waiting: int
    next_at: datetime | None
    running: int
    blocked: int


def queue_of(events: Iterable[Event], now: datetime) -> Queue:
    """Sort the open recordings of one provider by what they wait for."""
    due: Counter[date] = Counter()
    times: list[datetime] = []
    running = blocked = 0
    for event in events:
        life = event.life
        blocked += life.state is State.BLOCKED
        if is_due(life, now):
            due[event.day] += 1
        elif life.next_attempt_at is not None:
            times.append(life.next_attempt_at)
        else:
            running += 1
    return Queue(dict(due), len(times), min(times, default=None), running, blocked)


def ranges_of(days: Iterable[date]) -> list[DayRange]:
    """Join neighbouring days; never a day that was not given, so that no partition is materialized falsely."""
    ranges: list[DayRange] = []
    for day in sorted(set(days)):
        if ranges and day - ranges[-1].last == _ONE_DAY:
            ranges[-1] = DayRange(ranges[-1].first, day)
        else:
            ranges.append(DayRange(day, day))
    return ranges


def fair_choice(due: Sequence[DayRange], counts: dict[date, int], limit: int) -> list[DayRange]:
    """Choose at most ``limit`` ranges, in turn the newest and the one with most to do, so that neither starves."""

    def most_to_do(span: DayRange) -> int:
        return sum(counts.get(day, 0) for day in span.days)

    left = list(due)
    chosen: list[DayRange] = []
    while left and len(chosen) < limit:
        by_age = len(chosen) % 2 == 0
        pick = max(left, key=lambda span: span.last) if by_age else max(left, key=most_to_do)
        left.remove(pick)
        chosen.append(pick)
    return chosen


def open_days(events: Iterable[Event], today: date, *, first: date, reread_days: int, old_ones_too: bool) -> list[date]:
    """Return the partitions that should be read again, ascending.

    These are the days younger than ``reread_days``, because executions appear late, and the days that still have an execution
    that has not ended. Old days of the second kind are read once a day rather than with every tick (``old_ones_too``).
    """
    young = {today - timedelta(days=offset) for offset in range(reread_days)}
    unfinished = {
        event.day
        for event in events
        if event.life.next_attempt_at is None and not event.life.terminal and (old_ones_too or event.day in young)
    }
    return sorted(day for day in young | unfinished if first <= day <= today)
