"""Time, and processes that take turns: what makes a simulation repeatable.

A simulated process is a thread, but one of them runs at a time, and the next one is chosen by the seed whenever a process touches
the world (a file, a request, a sleep). Time moves only when all of them sleep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from resources.providers.protocol import Runtime

START = datetime(2026, 11, 20, tzinfo=UTC)
_SWITCH_SHARE = 0.25


class Killed(BaseException):
    """The process is dead: whatever it tries to do to the world is this."""


@dataclass(slots=True)
class Clock:
    """The world's time, and the wall clock of the archive's machine, which may be wrong.

    Attributes:
        elapsed: seconds since :data:`START`.
        error: seconds by which the machine's wall clock is ahead.
    """

    elapsed: float = 0.0
    error: float = 0.0

    @property
    def truth(self) -> datetime:
        """The right time."""
        return START + timedelta(seconds=self.elapsed)

    def wall(self) -> datetime:
        """Return what the machine believes."""
        return self.truth + timedelta(seconds=self.error)

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return self.elapsed


@dataclass(slots=True)
class Process:
    """One simulated process.

    Attributes:
        name: for traces.
        scheduler: whose turn it waits for.
        doom: how many more steps it lives; None for as long as it likes.
        on_death: called once when it dies, before anybody else runs.
        wakes_at: elapsed seconds until which it sleeps.
        steps: how often it has touched the world.
        failure: what its work raised, if it did not simply end.
    """

    name: str
    scheduler: Scheduler
    doom: int | None = None
    on_death: Callable[[Process], None] = lambda _: None
    wakes_at: float = 0.0
    steps: int = 0
    alive: bool = True
    ended: bool = False
    failure: BaseException | None = None
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def step(self) -> None:
        """Touch the world: die if it is time, and perhaps let another process go first.

        Raises:
            Killed: the process is dead.
        """
        self.check()
        self.steps += 1
        if self.doom is not None and self.steps >= self.doom:
            self.die()
            raise Killed
        self.scheduler.maybe_switch(self)
        self.check()

    def check(self) -> None:
        """Raise Killed if the process is dead."""
        if not self.alive:
            raise Killed

    def die(self) -> None:
        """End at once, as by kill -9."""
        if self.alive:
            self.alive = False
            self.on_death(self)

    def sleep(self, seconds: float) -> None:
        """Sleep; the others run meanwhile."""
        self.check()
        self.wakes_at = self.scheduler.clock.elapsed + max(0.0, seconds)
        self.scheduler.switch(self)
        self.check()

    def runtime(self) -> Runtime:
        """Return the clock that the archive's code is given in this process."""
        clock = self.scheduler.clock
        return Runtime(now=clock.wall, monotonic=clock.monotonic, sleep=self.sleep)


class Scheduler:
    """Runs a few processes at a time, one step after the other."""

    def __init__(self, rng: Random, clock: Clock) -> None:
        self.clock = clock
        self._rng = rng
        self._processes: list[Process] = []
        self._done = threading.Semaphore(0)

    def run(self, work: Sequence[tuple[Process, Callable[[Process], None]]]) -> None:
        """Run the processes to their ends."""
        self._processes = [process for process, _ in work]
        for process, _ in work:
            process.wakes_at = self.clock.elapsed
        if len(work) == 1:
            self._live(*work[0])
            return
        threads = [threading.Thread(target=self._in_turn, args=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
        self._next().turn.release()
        self._done.acquire()
        for thread in threads:
            thread.join()

    def maybe_switch(self, process: Process) -> None:
        """Let another process go on, sometimes."""
        if len(self._processes) > 1 and self._rng.random() < _SWITCH_SHARE:
            self.switch(process)

    def switch(self, process: Process) -> None:
        """Let whoever is to go on do so, and return when it is this process's turn again."""
        chosen = self._next()
        if chosen is not process:
            chosen.turn.release()
            process.turn.acquire()

    def _next(self) -> Process:
        """Choose among those that do not sleep; when all do, time goes on to the first that wakes."""
        running = [process for process in self._processes if not process.ended]
        # The dead only unwind: they do not wait for a time.
        ready = [process for process in running if not process.alive or process.wakes_at <= self.clock.elapsed]
        if not ready:
            first = min(running, key=lambda process: process.wakes_at)
            self.clock.elapsed = first.wakes_at
            return first
        return ready[0] if len(ready) == 1 else self._rng.choice(ready)

    def _in_turn(self, process: Process, work: Callable[[Process], None]) -> None:
        process.turn.acquire()
        self._live(process, work)
        if all(each.ended for each in self._processes):
            self._done.release()
        else:
            self._next().turn.release()

    def _live(self, process: Process, work: Callable[[Process], None]) -> None:
        try:
            work(process)
        except Killed:
            pass
        except BaseException as failure:  # noqa: BLE001 -- the driver judges it
            process.failure = failure
        process.ended = True
