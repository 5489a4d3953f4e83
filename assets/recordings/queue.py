"""What should be launched now: the due queue of the retry sensor, and the open partitions of the schedule.

Only the ledger is asked, never a provider.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import cast

import pyarrow as pa

from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import State
from resources.arrow import compute as pc

_ONE_DAY = timedelta(days=1)
_OLD_DAY_PAUSE = timedelta(hours=23)
"""Old days with unfinished executions are read again about once a day, by an hourly tick."""


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


QUEUE_COLUMNS = ("date", "state", "next_attempt_at")
"""What a queue is made of, of the columns of the open recordings."""


def queue_of(opened: pa.Table, now: datetime, blocked_until: datetime | None = None) -> Queue:
    """Sort the open recordings of one provider by what they wait for.

    Blocked ones wait together: a run that meets the same fault again asks for one of them, and only that one gets a new time.

    Args:
        opened: one row for each, :data:`QUEUE_COLUMNS` among its columns.
        now: UTC.
        blocked_until: when the blocked ones are asked for again, where these are not all of them.
    """
    moments = opened["next_attempt_at"]
    is_blocked = pc.equal(opened["state"], State.BLOCKED.value)
    latest = pc.max(moments.filter(is_blocked)) if blocked_until is None else pa.scalar(blocked_until, moments.type)
    moments = pc.if_else(is_blocked, latest, moments)
    is_due = pc.fill_null(pc.less_equal(moments, pa.scalar(now, moments.type)), pa.scalar(value=False))
    counts = pc.value_counts(opened["date"].filter(is_due))
    waiting = moments.filter(pc.invert(is_due)).drop_null()
    return Queue(
        due={each["values"]: each["counts"] for each in counts.to_pylist()},
        waiting=len(waiting),
        next_at=pc.min(waiting).as_py(),
        running=moments.null_count,
        blocked=int(pc.sum(is_blocked).as_py() or 0),
    )


def queue_at(ledger: Ledger, provider: str, now: datetime, first: date) -> Queue:
    """Return the queue of one provider as the ledger has it.

    Most looks find that nothing is due yet, which the fold has written down: then no recording is looked at.

    Args:
        ledger: of the archive.
        provider: whose.
        now: UTC.
        first: the first day of the archive. For one that is no partition (the start was moved), Dagster would refuse all that is
            asked for.
    """
    early = ledger.early(provider, now, QUEUE_COLUMNS)
    if early is None:
        opened = ledger.open_table(provider, QUEUE_COLUMNS)
        return queue_of(opened.filter(pc.field("date") >= first), now)
    waiting, until = early.waiting, early.waiting.blocked_until
    part = queue_of(early.recordings.filter(pc.field("date") >= first), now, until)
    others = [moment for moment in (part.next_at, early.later, until) if moment is not None and moment > now]
    timed = waiting.timed + waiting.blocked - sum(part.due.values())
    return Queue(part.due, timed, min(others, default=None), waiting.running, waiting.blocked)


def unfinished_days(opened: pa.Table) -> set[date]:
    """Return the days with executions that have not ended, by the open recordings: those have no time of their own."""
    return set(cast("list[date]", opened["date"].filter(pc.is_null(opened["next_attempt_at"])).unique().to_pylist()))


def ranges_of(days: Iterable[date]) -> list[DayRange]:
    """Join neighbouring days; never a day that was not given, so that no partition is materialized falsely."""
    ranges: list[DayRange] = []
    for day in sorted(set(days)):
        if ranges and day - ranges[-1].last == _ONE_DAY:
            ranges[-1] = DayRange(ranges[-1].first, day)
        else:
            ranges.append(DayRange(day, day))
    return ranges


def fair_choice(due: Sequence[DayRange], counts: Mapping[date, int], limit: int) -> list[DayRange]:
    """Choose at most ``limit`` ranges: in turn the newest, the one with most to do and the oldest, so that none starves."""

    def most_to_do(span: DayRange) -> int:
        return sum(counts.get(day, 0) for day in span.days)

    def newest(span: DayRange) -> int:
        return span.last.toordinal()

    def oldest(span: DayRange) -> int:
        return -span.first.toordinal()

    turns = (newest, most_to_do, oldest)
    left = list(due)
    chosen: list[DayRange] = []
    while left and len(chosen) < limit:
        pick = max(left, key=turns[len(chosen) % len(turns)])
        left.remove(pick)
        chosen.append(pick)
    return chosen


def open_days(
    unfinished: Collection[date], reads: Mapping[date, datetime], now: datetime, *, first: date, reread_days: int
) -> list[date]:
    """Return the partitions from ``first`` to today that should be read again, ascending.

    A day is open while it is younger than ``reread_days``, because executions appear late; until it was once read to its end
    after that time, however long nobody was there to do it; and, once a day, while it has an execution that has not ended.

    Args:
        unfinished: days with executions that have not ended, see :func:`unfinished_days`.
        reads: when each day was last read to its end, UTC.
        now: UTC.
        first: the first day of the archive.
        reread_days: the age at which a day counts as complete.
    """
    today = now.astimezone(UTC).date()
    days = (first + timedelta(days=offset) for offset in range((today - first).days + 1))
    return [day for day in days if _is_open(day, reads.get(day), now, reread_days, unfinished=day in unfinished)]


def _is_open(day: date, read: datetime | None, now: datetime, reread_days: int, *, unfinished: bool) -> bool:
    complete_at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1 + reread_days)
    if now < complete_at or read is None or read < complete_at:
        return True
    return unfinished and now - read >= _OLD_DAY_PAUSE
