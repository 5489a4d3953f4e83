"""Running an archive for days within minutes: a clock that moves by sleeping, and rounds as the schedule and the sensors do them.

The code that does the work is the real one; what is left out is Dagster between the rounds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol
from uuid import uuid4

from assets.catalog.publication import publish
from assets.executions.ingest import ExpectedRecording, ingest
from assets.executions.reads import last_reads, note_reads
from assets.recordings.archiving import RunMemory, archive_day
from assets.recordings.discovery import discover
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from assets.recordings.queue import QUEUE_COLUMNS, DayRange, fair_choice, open_days, queue_of, ranges_of, unfinished_days
from resources.archive import Archive, provider_spec
from resources.providers.protocol import Runtime
from resources.providers.registry import PROVIDERS

SCHEDULE_PAUSE = timedelta(hours=1)
"""As ARCHIVE_SCHEDULE_CRON is by default."""


class Moved(Protocol):
    """By how many seconds the clock was moved; one that lies in shared memory is seen by the sandbox's process too."""

    value: float


@dataclass(slots=True)
class Seconds:
    """The same within one process."""

    value: float = 0.0


class Clock:
    """A clock that stands still until somebody sleeps, who then does not wait."""

    def __init__(self, start: datetime, moved: Moved | None = None) -> None:
        self._start = start
        self._moved = Seconds() if moved is None else moved  # a shared number of 0 is false
        self._turn = threading.Lock()

    def now(self) -> datetime:
        """Return the moved moment, UTC."""
        return self._start + timedelta(seconds=self._moved.value)

    def monotonic(self) -> float:
        """Return the seconds by which it was moved."""
        return self._moved.value

    def sleep(self, seconds: float) -> None:
        """Move on by so many seconds."""
        with self._turn:
            self._moved.value += seconds

    def runtime(self) -> Runtime:
        """Return the runtime for an archive."""
        return Runtime(now=self.now, monotonic=self.monotonic, sleep=self.sleep)


@dataclass(slots=True)
class Rounds:
    """Rounds of one archive.

    Attributes:
        archive: its runtime is that of ``clock``.
        clock: is moved from one round to the next.
        first: the first day of the archive.
        done: how many rounds there were.
        broken_reads: how often a list of executions broke before its end.
    """

    archive: Archive
    clock: Clock
    first: date
    done: int = 0
    broken_reads: int = 0
    _next_tick: datetime | None = None
    _ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self._ledger = Ledger(self.archive.storage)

    def run(self, finished: Callable[[], bool], most: int) -> None:
        """Do rounds until ``finished``, or ``most`` of them; then publish what became of it."""
        while self.done < most:
            self.one()
            if finished():
                break
            self._wait()
        publish(self.archive.storage, PROVIDERS.values(), self.clock.now())

    def one(self) -> None:
        """Do what is owed now: the ticks of the schedules if it is time, with a publication, then those of the retry sensors."""
        now = self.clock.now()
        if self._next_tick is None or now >= self._next_tick:
            self._next_tick = now + SCHEDULE_PAUSE
            for name in PROVIDERS:
                self._tick(name, now)
            publish(self.archive.storage, PROVIDERS.values(), self.clock.now())
        for name in PROVIDERS:
            self._retry(name)
        self.done += 1

    def _tick(self, name: str, now: datetime) -> None:
        """Read the open days of a provider; archive what is due in those that could be read to their end."""
        storage, settings = self.archive.storage, self.archive.settings
        known = self._ledger.open_table(name, QUEUE_COLUMNS)
        reads = last_reads(storage, name)
        for span in ranges_of(
            open_days(unfinished_days(known), reads, now, first=self.first, reread_days=settings.archive_reread_days)
        ):
            if self._read(name, span.days):
                self._archive(name, span)

    def _read(self, name: str, days: Sequence[date]) -> bool:
        storage, run_id, now = self.archive.storage, uuid4().hex, self.clock.now()
        policy = Policy.from_settings(self.archive.settings)

        def tell_ledger(day: date, expected: Sequence[ExpectedRecording]) -> None:
            discover(self._ledger, name, day, expected, run_id=run_id, now=now, policy=policy)

        spec = provider_spec(name)
        report = ingest(self.archive.provider(name), spec, storage, days, now=now, before_write=tell_ledger)
        if report.error is None:
            note_reads(storage, name, days, now)
        self.broken_reads += report.error is not None
        return report.error is None

    def _retry(self, name: str) -> None:
        queue = queue_of(self._ledger.open_table(name, QUEUE_COLUMNS), self.clock.now())
        chosen = fair_choice(ranges_of(queue.due), queue.due, self.archive.settings.archive_sensor_max_runs)
        for span in chosen:
            self._archive(name, span)
        if chosen:
            self._ledger.fold(name)  # as the catalog's sensor does after every run, with a publication that takes longer

    def _archive(self, name: str, span: DayRange) -> None:
        run_id, memory = uuid4().hex, RunMemory()
        for day in span.days:
            archive_day(self.archive, name, day, run_id, memory=memory)

    def _wait(self) -> None:
        """Move the clock to the next moment at which something is owed, but at least to the sensors' next look."""
        now = self.clock.now()
        moments = [self._next_tick or now]
        for name in PROVIDERS:
            queue = queue_of(self._ledger.open_table(name, QUEUE_COLUMNS), now)
            moments += [queue.next_at] if queue.next_at else []
        pause = (min(moments) - now).total_seconds()
        self.clock.sleep(max(pause, self.archive.settings.archive_sensor_interval_seconds))
