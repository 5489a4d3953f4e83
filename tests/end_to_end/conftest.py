"""What the end-to-end tests share: one demo, and sandboxes for the command line to talk to."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.options import WorldOptions
from sandbox.server import Sandbox, running_sandbox
from tests.end_to_end.command import IMPATIENT, POLL_SECONDS, SECONDS, Ended, Operator
from tests.storage.seaweed import seaweed

__all__ = ["seaweed"]

RECORDINGS, MEGABYTES = 60, 8
DEMO = ("demo", "--recordings", str(RECORDINGS), "--megabytes", str(MEGABYTES))
_POLL_SANDBOX_SECONDS = 0.25


@dataclass
class Demo:
    """A demo that ran to its end."""

    operator: Operator
    ended: Ended
    secrets: set[str] = field(default_factory=set[str])
    requests: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def root(self) -> Path:
        """The archive that it made."""
        return self.operator.folder / "demo" / "archive"

    def copy(self, folder: Path) -> Operator:
        """Return an operator with a copy of the demo's folder, for tests that change it."""
        shutil.copytree(self.operator.folder, folder)
        return Operator(folder)


def demo_truth(folder: Path) -> list[dict[str, Any]]:
    """Return what the archive of a demo in ``folder`` should hold, from another sandbox of the same world."""
    world = json.loads((folder / "demo" / "world.json").read_text())
    options = WorldOptions(
        recordings=world["recordings"],
        megabytes=world["megabytes"],
        seed=world["seed"],
        anchor=datetime.fromisoformat(world["anchor"]),
    )
    with running_sandbox(options) as sandbox:
        return list(sandbox.truth()["recordings"])  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run ``recording-archive demo`` once for all workers, and listen to its sandbox meanwhile. Do not change its folder."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "one-demo"
    shared.mkdir(exist_ok=True)
    folder, told = shared / "work", shared / "told.json"
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            folder.mkdir()
            told.write_text(json.dumps(_listen_to_a_demo(Operator(folder))))
    facts = json.loads(told.read_text())
    return Demo(Operator(folder), Ended(**facts["ended"]), set(facts["secrets"]), facts["requests"])


def _listen_to_a_demo(operator: Operator) -> dict[str, Any]:
    process = operator.start(*DEMO)
    secrets: set[str] = set()
    requests: dict[str, Any] = {}
    deadline = time.monotonic() + SECONDS
    with httpx.Client(trust_env=False, timeout=5) as client:
        while process.poll() is None:
            assert time.monotonic() < deadline, "the demo is stuck"
            origin = _origin(operator.folder / "demo" / "sandbox.log")
            with suppress(httpx.HTTPError):
                if origin:
                    told = client.get(f"{origin}/_sandbox/secrets").json()
                    secrets |= {*told["keys"], *told["signatures"]}
                    requests = client.get(f"{origin}/_sandbox/requests").json()
            time.sleep(_POLL_SANDBOX_SECONDS if origin else POLL_SECONDS)
    return {"ended": asdict(operator.ended(process)), "secrets": sorted(secrets), "requests": requests}


def _origin(log: Path) -> str | None:
    if not log.exists():
        return None
    words = log.read_text().partition("sandbox: ")[2].split("/ serves")
    return words[0] if len(words) > 1 else None


@pytest.fixture(scope="session")
def truth(demo: Demo) -> list[dict[str, Any]]:
    """Return what the demo's archive should hold."""
    return demo_truth(demo.operator.folder)


@pytest.fixture(scope="module")
def world() -> WorldOptions:
    """Return the options of the module's sandbox; a test file may override this fixture."""
    return WorldOptions(recordings=12, megabytes=1, calm=True)


@pytest.fixture(scope="module")
def sandbox(world: WorldOptions) -> Iterator[Sandbox]:
    """Run one sandbox for the tests of a module."""
    with running_sandbox(world) as running:
        yield running


@pytest.fixture
def operator(sandbox: Sandbox, tmp_path: Path) -> Operator:
    """Return an operator with a fresh folder, whose environment points at the sandbox; all faults are off."""
    sandbox.clear_faults()
    return new_operator(sandbox, tmp_path / "work")


def new_operator(sandbox: Sandbox, folder: Path) -> Operator:
    """Make ``folder``, and return an impatient operator in it whose environment points at the sandbox."""
    folder.mkdir()
    return Operator(folder, {**sandbox.env, **IMPATIENT, "ARCHIVE_START_DATE": sandbox.window["first"]})


def all_days(sandbox: Sandbox) -> tuple[str, str, str, str]:
    """Return the arguments for all days of the sandbox's world."""
    return ("--from", sandbox.window["first"], "--to", sandbox.window["last"])
