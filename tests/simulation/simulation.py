"""One world from its beginning to its end: what is launched when, what goes wrong, and whether the archive is right after it."""

from __future__ import annotations

import functools
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from unittest import mock

import fsspec
import pyarrow as pa

from assets.recordings.events import Event, from_table
from assets.recordings.ledger import Ledger, files
from assets.recordings.ledger.chain import read_event_file
from assets.recordings.lifecycle import Policy, State
from resources.archive import Archive
from resources.errors import ArchiveError
from tests.simulation.api import SimulatedApi
from tests.simulation.archives import (
    ROOT,
    PromisingStorage,
    Site,
    archive_due,
    ask_again,
    make_settings,
    open_process,
    publish,
    read_and_archive,
    tidy_up,
)
from tests.simulation.disk import Platter
from tests.simulation.invariants import ViolationError, Watcher, require
from tests.simulation.scheduler import START, Clock, Process, Scheduler
from tests.simulation.world import World, make_world

_HOUR = 3600.0
_DAY = 86_400.0
_CALM_ROUNDS = 200
_CALM_DAYS = 25.0


@dataclass(slots=True)
class Outcome:
    """How a world went.

    Attributes:
        seed: makes it again.
        recordings, archived: how many it had, and how many ended archived.
        runs, killed, power_cuts, failed_runs: what happened to the processes.
        faults: how often each fault came.
        requests: how many API and media requests were made.
        days: how long it took, in the world's time.
        violation: what was wrong, or None.
        digest: of everything that the ledger says: the same seed gives the same.
    """

    seed: int
    recordings: int = 0
    archived: int = 0
    runs: int = 0
    killed: int = 0
    power_cuts: int = 0
    failed_runs: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    requests: Counter[str] = field(default_factory=Counter[str])
    days: float = 0.0
    violation: str | None = None
    digest: str = ""


def simulate(seed: int) -> Outcome:
    """Run the world of ``seed`` to its end and return how it went; a violation is in it, not raised."""
    with _repeatable(seed):
        return _Simulation(seed).run()


def be_alone() -> None:
    """Leave the other cores to other worlds: begins a worker process (it cannot stand in ``__main__``, which is not imported)."""
    pa.set_cpu_count(1)


@contextmanager
def _repeatable(seed: int) -> Generator[None]:
    """Let the ids and the jitter that the code takes from the system come from the seed."""
    state = random.getstate()
    random.seed(seed)
    source = Random(f"system {seed}")
    logging.disable(logging.CRITICAL)
    try:
        with (
            mock.patch("os.urandom", source.randbytes),
            # Reading one file again gives the same table: most of a simulation's time went there.
            mock.patch("assets.recordings.ledger.files._decoded", _remembered(files._decoded)),
            mock.patch("assets.recordings.ledger.store.from_table", _remembered_events(from_table)),
            # All processes of a world are threads of this one: what one of them has read, another one has not.
            mock.patch("assets.recordings.ledger.files._RECENT", files._Recent(0)),
            mock.patch("assets.recordings.audit.trail.read_event_file", _event_file),
            mock.patch("assets.recordings.manifest.read_event_file", _event_file),
            mock.patch("assets.recordings.ledger.packing.read_event_file", _event_file),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)
        random.setstate(state)


_event_file = functools.lru_cache(maxsize=512)(read_event_file)


def _remembered(read: Callable[[bytes, pa.Schema], pa.Table]) -> Callable[[bytes, pa.Schema], pa.Table]:
    return functools.lru_cache(maxsize=1024)(read)


def _remembered_events(decode: Callable[[pa.Table], list[Event]]) -> Callable[[pa.Table], list[Event]]:
    known: dict[int, tuple[pa.Table, tuple[Event, ...]]] = {}

    def remembered(table: pa.Table) -> list[Event]:
        if id(table) not in known:
            known[id(table)] = (table, tuple(decode(table)))  # the table is kept, so that its id stays its own
        return list(known[id(table)][1])

    return remembered


class _Simulation:
    def __init__(self, seed: int) -> None:
        self.rng = Random(f"world {seed}")
        self.clock = Clock()
        self.world: World = make_world(seed, self.rng, self.clock)
        self.scheduler = Scheduler(self.rng, self.clock)
        sessions = f"memory://simulation-{seed}/sessions.jsonl"
        self.site = Site(self.world, Platter(ROOT, self.rng, START), make_settings(sessions), sessions)
        self.checker = Process("checker", Scheduler(Random(0), self.clock))
        calm = make_world(0, Random(0), self.clock)
        calm.stormy = False
        storage = PromisingStorage(Site(calm, self.site.platter, self.site.settings, ""), self.checker)
        self.watcher = Watcher(self.site, storage)
        self.outcome = Outcome(seed, recordings=len(self.world.recordings()))
        self.number = 0

    def run(self) -> Outcome:
        outcome = self.outcome
        try:
            self._storm()
            self._calm()
            self.watcher.look_at_the_end()
        except (ViolationError, ArchiveError) as violation:  # an archive that the checker cannot read is as wrong as can be
            outcome.violation = str(violation)
        outcome.archived = sum(event.life.state is State.ARCHIVED for event in self.watcher.lives.values())
        outcome.faults, outcome.requests = self.world.faults, self.world.requests
        outcome.days = self.clock.elapsed / _DAY
        outcome.digest = self._digest()
        fsspec.filesystem("memory").store.pop(f"/simulation-{outcome.seed}/sessions.jsonl", None)
        return outcome

    # -- the two parts of a world

    def _storm(self) -> None:
        rng = self.rng
        while self.clock.elapsed < self.world.storm_seconds:
            count = rng.choices((1, 2, 3), (14, 5, 1))[0]
            providers = [rng.choice(self.world.providers)] * count  # rivals, mostly: the same recordings at the same time
            if rng.random() < 0.3:
                providers = [rng.choice(self.world.providers) for _ in range(count)]
            self._launch([self._some_work(provider) for provider in providers], deadly=True)
            if rng.random() < 0.15:
                self._set_clock(rng.choice((0.0, -8 * _HOUR, 8 * _HOUR)) * rng.random())
                continue
            self.clock.elapsed += rng.choice((60.0, 0.5 * _HOUR, 2 * _HOUR, 8 * _HOUR)) * rng.uniform(0.5, 1.5)

    def _calm(self) -> None:
        """Nothing fails any more, but the clock may be minutes off; schedule and sensor go on until all has ended."""
        self.world.stormy = False
        self._set_clock(self.rng.choice((0.0, 0.0, -600.0, 600.0)))
        end = self.clock.elapsed + _CALM_DAYS * _DAY
        for number in range(_CALM_ROUNDS):
            for provider in self.world.providers:
                self._launch([self._work(provider, archive_due if number % 2 else read_and_archive)])
                self._requeue_dead_letters(provider)
            if self._settled() or self.clock.elapsed > end:
                break
            self.clock.elapsed += 9 * _HOUR
        for provider in self.world.providers:
            self._launch([self._work(provider, publish)])
            self._launch([self._work(provider, tidy_up)])

    def _set_clock(self, error: float) -> None:
        self.clock.error = error
        self.world.jumps.append(self.clock.elapsed)

    def _settled(self) -> bool:
        lives = self.watcher.lives
        truth = self.world.recordings()
        return lives.keys() == truth.keys() and all(
            event.life.state in self.watcher.right_ends(truth[key]) for key, event in lives.items()
        )

    def _requeue_dead_letters(self, provider: str) -> None:
        """An operator looks at the dead letters and has them asked for again; each must really have passed a limit."""
        settings = self.site.settings
        days = set()
        for key, event in self.watcher.lives.items():
            life = event.life
            if key.provider != provider or life.state is not State.FAILED:
                continue
            tries = life.attempts - life.attempts_before
            tried = (event.at - (life.trying_since or event.at)).total_seconds() / _DAY
            suspect = life.suspects >= Policy().suspect_limit and tried >= 1
            passed = tries >= settings.retry_attempt_limit or tried > settings.retry_deadline_days or suspect
            require(passed, f"{key} is a dead letter after {tries} tries in {tried:.1f} days")
            days.add(event.day)
        if days:
            self._launch([self._work(provider, partial(ask_again, days=sorted(days)))])

    # -- processes

    def _some_work(self, provider: str) -> Callable[[Process], None]:
        return self._work(provider, self.rng.choices((read_and_archive, archive_due, publish, tidy_up), (3, 5, 3, 2))[0])

    def _work(self, provider: str, what: Callable[[Archive, str, str], None]) -> Callable[[Process], None]:
        def work(process: Process) -> None:
            with self._opened(process) as archive:
                what(archive, provider, process.name)

        return work

    @contextmanager
    def _opened(self, process: Process) -> Generator[Archive]:
        if "kataven" in self.world.providers:
            listed = SimulatedApi(self.world, process, "kataven").inventory()
            fsspec.filesystem("memory").pipe_file(f"/simulation-{self.outcome.seed}/sessions.jsonl", listed)
        archive = open_process(self.site, process)
        try:
            yield archive
        finally:
            archive.close()

    def _launch(self, work: list[Callable[[Process], None]], *, deadly: bool = False) -> None:
        """Run a few processes beside each other, some of them to their death, and look at what is left."""
        self.number += len(work)
        names = [f"run-{self.number - place:04d}" for place in range(len(work))]
        pairs = [(Process(name, self.scheduler), each) for name, each in zip(names, work, strict=True)]
        if deadly:
            self._doom([process for process, _ in pairs])
        self.scheduler.run(pairs)
        self.outcome.runs += len(pairs)
        for process, _ in pairs:
            self._judge(process)
        self.watcher.look()

    def _doom(self, processes: list[Process]) -> None:
        """Choose who dies, and when; sometimes with all the others, and what was not synced."""
        for process in processes:
            if self.rng.random() < 0.3:
                process.doom = 1 + int(300 * self.rng.random() ** 2)
        if self.rng.random() < 0.15:
            for process in processes:
                process.on_death = lambda _: self._cut_power(processes)

    def _cut_power(self, processes: list[Process]) -> None:
        self.outcome.power_cuts += 1
        for process in processes:
            process.alive = False
        self.site.platter.cut_power()

    def _judge(self, process: Process) -> None:
        self.outcome.killed += not process.alive
        failure = process.failure
        if failure is not None:
            self.outcome.failed_runs += 1
            require(isinstance(failure, ArchiveError), f"a run failed as no run should: {failure!r}")
            require(self.world.stormy, f"a run failed in a calm world: {failure}")

    def _digest(self) -> str:
        ledger = Ledger(self.watcher.storage)
        if self.outcome.violation is not None:
            return ""
        rows = [row for provider in self.world.providers for row in ledger.events_table(provider).to_pylist()]
        lines = sorted(repr(sorted((name, str(value)) for name, value in row.items())) for row in rows)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
