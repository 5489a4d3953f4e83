"""What the tests share: a sandbox, and an archive that is pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.executions.ingest import ExpectedRecording
from assets.recordings.discovery import discover
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from resources.archive import Archive
from resources.clock import REAL_RUNTIME
from resources.model import Leg
from resources.providers.protocol import Runtime
from resources.settings import Settings, load_settings
from resources.storage import open_storage
from sandbox.options import WorldOptions
from sandbox.server import Sandbox, running_sandbox

SMALL = WorldOptions(recordings=60, megabytes=8)


@dataclass
class TestRuntime:
    """A clock that moves only when something sleeps, or a test says so; it starts at the real moment."""

    __test__ = False

    offset: float = 0.0
    slept: list[float] = field(default_factory=list)

    def runtime(self) -> Runtime:
        """Return the runtime for an archive."""
        return Runtime(now=self.now, monotonic=lambda: REAL_RUNTIME.monotonic() + self.offset, sleep=self.sleep)

    def now(self) -> datetime:
        """Return the moved moment."""
        return datetime.fromtimestamp(REAL_RUNTIME.now().timestamp() + self.offset, tz=UTC)

    def sleep(self, seconds: float) -> None:
        """Note the wish to sleep, and do not."""
        self.slept.append(seconds)


@dataclass
class Bench:
    """An archive pointed at a sandbox."""

    archive: Archive
    sandbox: Sandbox
    clock: TestRuntime

    @property
    def ledger(self) -> Ledger:
        """The archive's ledger."""
        return Ledger(self.archive.storage)

    def truth(self, provider: str) -> list[dict[str, Any]]:
        """Return the provider's recordings as the sandbox knows them."""
        return [row for row in self.sandbox.truth()["recordings"] if row["provider"] == provider]

    def days(self, provider: str) -> list[date]:
        """Return the days on which the provider has recordings."""
        return sorted({date.fromisoformat(row["date"]) for row in self.truth(provider)})

    def discover(self, provider: str, **facts: object) -> None:
        """Tell the ledger of all the provider's recordings."""
        for day in self.days(provider):
            rows = [row for row in self.truth(provider) if row["date"] == day.isoformat()]
            known = {"terminal": True, "ended_at": None, "purged_at": None} | facts
            expected = [ExpectedRecording(row["execution_id"], Leg(row["leg"]), **known) for row in rows]  # type: ignore[arg-type]
            discover(self.ledger, provider, day, expected, run_id="test", now=self.clock.now(), policy=Policy())

    def states(self, provider: str) -> dict[tuple[str, str], str]:
        """Return the state of each recording by (execution id, leg)."""
        return {
            (key.execution_id, key.leg.value): event.life.state.value
            for day in self.ledger.days(provider)
            for key, event in self.ledger.read_day(provider, day).items()
        }


@pytest.fixture
def world() -> WorldOptions:
    """Return the sandbox's options; a test file may override this fixture."""
    return SMALL


@pytest.fixture
def clock() -> TestRuntime:
    """Return the clock that the archive and the sandbox share."""
    return TestRuntime()


@pytest.fixture
def sandbox(world: WorldOptions, clock: TestRuntime) -> Iterator[Sandbox]:
    """Run a sandbox of the test's own."""
    with running_sandbox(world, clock=clock.now) as running:
        yield running


@pytest.fixture
def make_settings(sandbox: Sandbox, tmp_path: Path) -> Callable[..., Settings]:
    """Return a maker of settings that point at the sandbox, whatever the environment says."""

    def make(**overrides: object) -> Settings:
        chosen: dict[str, object] = {name.lower(): value for name, value in sandbox.env.items()}
        chosen |= {"archive_root": str(tmp_path / "archive"), "kataven_rate_limits": "1000000/minute"}
        return load_settings(None, **(chosen | overrides))

    return make


@pytest.fixture
def bench(sandbox: Sandbox, clock: TestRuntime, make_settings: Callable[..., Settings]) -> Iterator[Bench]:
    """Return an archive on local disk, pointed at the sandbox."""
    settings = make_settings()
    archive = Archive(settings, open_storage(settings.archive_root), clock.runtime())
    yield Bench(archive, sandbox, clock)
    archive.close()
