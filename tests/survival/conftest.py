"""A world to archive, roots of both kinds to archive it in, and processes to do it."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from resources.failpoints import VARIABLE, Failpoint
from resources.settings import Settings
from sandbox.options import WorldOptions
from sandbox.server import Sandbox, running_sandbox
from tests.end_to_end.command import IMPATIENT, wait_until
from tests.storage.seaweed import Seaweed, seaweed
from tests.survival.nursery import COUNTS, MUTATIONS, PAUSE, Ended, Nursery, running_nursery
from tests.survival.places import Bucket, Folder, Place
from tests.survival.run import PROVIDER

__all__ = ["seaweed"]

WORLD = WorldOptions(recordings=8, megabytes=24, days=1, calm=True)
"""Three recordings of the provider, one of them beyond a single PUT."""
PAST = WorldOptions(seed=8, recordings=12, megabytes=2, days=3, calm=True)
"""What was archived some months before: other recordings, several days of one month."""
_MONTHS_BEFORE = timedelta(days=92)
_CLEAN = {name.upper(): "" for name in Settings.model_fields}


@dataclass(frozen=True)
class Past:
    """What an archive holds already, of a world that is no more.

    Attributes:
        root: a local archive with it.
        truth: the provider's recordings.
        fetched: how often each was asked of the media host.
    """

    root: Path
    truth: list[dict[str, Any]]
    fetched: dict[str, int]


@dataclass
class World:
    """A sandbox, and processes that archive it.

    Attributes:
        past: what lies in each root before the first process.
        truth: the provider's recordings, those of the past among them.
        processes: how many were run.
        kills: how many of them were killed.
        ended: how the last one ended that was paused.
    """

    sandbox: Sandbox
    nursery: Nursery
    folder: Path
    past: Past | None = None
    processes: int = 0
    kills: int = 0
    ended: Ended = field(init=False, repr=False)
    truth: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        rows: list[dict[str, Any]] = self.sandbox.truth()["recordings"]  # type: ignore[assignment]
        self.truth = [row for row in rows if row["provider"] == PROVIDER]
        if self.past is not None:
            self.truth += self.past.truth

    @property
    def days(self) -> list[date]:
        """All days of the world."""
        first, last = (date.fromisoformat(self.sandbox.window[end]) for end in ("first", "last"))
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]

    def fetched(self) -> dict[str, int]:
        """Return how often each recording was asked of the media host."""
        rows: list[dict[str, Any]] = self.sandbox.requests()["recordings"]  # type: ignore[assignment]
        counted = {row["execution_id"]: row["media_gets"] for row in rows if row["provider"] == PROVIDER}
        known = (self.past.fetched if self.past is not None else {}) | counted
        return {row["execution_id"]: known.get(row["execution_id"], 0) for row in self.truth}

    def environment(self, place: Place, **more: str) -> dict[str, str]:
        """Return the settings of a run."""
        return {**_CLEAN, **self.sandbox.env, **IMPATIENT, "AWS_EC2_METADATA_DISABLED": "true", **place.environment, **more}

    def run(self, place: Place, **more: str) -> Ended:
        """Run a process to its end."""
        self.processes += 1
        ended = self.nursery.run(self.environment(place, **more), self.days)
        self.kills += ended.code == -9
        return ended

    @contextlib.contextmanager
    def paused_at(self, place: Place, point: Failpoint, hit: int, **more: str) -> Iterator[None]:
        """Start a process, and run the block while it waits at the n-th hit of a failpoint; :meth:`ended` says how it went on."""
        self.processes += 1
        file = self.folder / "paused"
        self.nursery.start(self.environment(place, **{PAUSE: f"{point.value}:{hit}:{file}"}, **more), self.days)
        try:
            wait_until(file.exists, f"a pause at {point}")
            yield
        finally:
            file.unlink(missing_ok=True)
            self.ended = self.nursery.ended()

    def kill_at(self, place: Place, point: Failpoint, hit: int, *, mutations: str = "") -> Ended:
        """Run a process that is killed at the n-th hit of a failpoint."""
        return self.run(place, **{MUTATIONS: mutations, VARIABLE: f"{point.value}:{hit}"})

    def count(self, place: Place) -> dict[Failpoint, int]:
        """Run a process that is not killed, and return how often it came by each failpoint."""
        target = self.folder / "counts.json"
        ended = self.run(place, **{COUNTS: str(target)})
        assert ended.code == 0, ended.text
        return {Failpoint(name): count for name, count in json.loads(target.read_text()).items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for the tests of a module; every test archives it in a root of its own."""
    folder = tmp_path_factory.mktemp("world")
    with running_sandbox(WORLD) as sandbox, running_nursery(folder) as nursery:
        yield World(sandbox, nursery, folder)


@pytest.fixture(scope="module")
def long_world(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return the same world, before which some days of a month that ended long before its own were archived."""
    folder = tmp_path_factory.mktemp("past")
    place = Folder(folder / "archive")
    end = (world.days[-1] - _MONTHS_BEFORE).replace(day=20)
    with running_sandbox(replace(PAST, end_date=end)) as sandbox:
        before = World(sandbox, world.nursery, folder)
        ended = before.run(place)
        assert ended.code == 0, ended.text
        return World(world.sandbox, world.nursery, folder, Past(place.root, before.truth, before.fetched()))


NewPlace = Callable[[], Place]


@pytest.fixture(scope="module", params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def new_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewPlace:
    """Return a maker of empty roots, on local disk and on S3 in turn."""
    base = tmp_path_factory.mktemp("roots")
    if request.param == "local":
        return lambda: Folder(base / uuid.uuid4().hex)
    server: Seaweed = request.getfixturevalue("seaweed")
    return lambda: Bucket(server, f"{uuid.uuid4().hex}/archive", base / uuid.uuid4().hex)


@pytest.fixture(scope="module")
def new_long_place(new_place: NewPlace, long_world: World) -> NewPlace:
    """Return a maker of roots that hold what was archived before the long world."""
    past = long_world.past
    assert past is not None

    def make() -> Place:
        place = new_place()
        place.fill(past.root)
        return place

    return make
