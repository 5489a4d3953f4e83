"""A real ``dagster dev`` (webserver, daemon, code location) in a home of its own, pointed at a sandbox."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from resources.model import Leg, RecordingKey
from resources.settings import Settings
from resources.storage import open_storage
from sandbox.server import Sandbox

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

IMPATIENT = {
    "RETRY_BASE_SECONDS": "1",
    "RETRY_SLOW_SECONDS": "2",
    "RETRY_MAX_SECONDS": "4",
    "ABSENT_GRACE_SECONDS": "43200",
    "BLOCKED_RECHECK_SECONDS": "2",
    "KATAVEN_RATE_LIMITS": "1000000/minute",
    "ARCHIVE_SCHEDULE_CRON": "* * * * *",
    "ARCHIVE_SENSOR_INTERVAL_SECONDS": "1",
}
"""Hours of waiting in seconds, so that retries and ticks are seen to come back."""

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.2


def plain_environment() -> dict[str, str]:
    """Return this process's environment without anything that would set up Dagster or the archive."""
    ours = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.upper() not in ours and not name.startswith("DAGSTER")}


def write_env_file(path: Path, settings: Mapping[str, str]) -> str:
    """Write ``settings`` as a ``.env`` file, and return its path."""
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return str(path)


def archive_environment(sandbox: Sandbox, root: Path, automation: str) -> dict[str, str]:
    """Return the settings of an impatient archive below ``root`` that takes all days of the sandbox for young."""
    first = datetime.fromisoformat(sandbox.window["first"]).date()
    return {
        **sandbox.env,
        **IMPATIENT,
        "ARCHIVE_ROOT": str(root),
        "ARCHIVE_START_DATE": first.isoformat(),
        "ARCHIVE_REREAD_DAYS": str((datetime.now(tz=UTC).date() - first).days + 2),
        "ARCHIVE_AUTOMATION": automation,
    }


def new_home(folder: Path) -> Path:
    """Return a new ``DAGSTER_HOME`` with the project's own ``dagster.yaml``."""
    folder.mkdir(parents=True)
    shutil.copyfile(PROJECT / "dagster.yaml", folder / "dagster.yaml")
    return folder


def wait_for(condition: Callable[[], object], seconds: float, words: Callable[[], str]) -> None:
    """Wait until ``condition`` is true; at the deadline fail with ``words``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, words()
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True)
class DagsterDev:
    """A running ``dagster dev``."""

    origin: str
    home: Path
    log: Path
    process: subprocess.Popen[bytes]

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """Return the data of a GraphQL answer."""
        sent = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.origin}/graphql", json=sent, timeout=60, trust_env=False)
        body = answer.json()
        assert "errors" not in body, json.dumps(body["errors"])[:2000]
        return body["data"]

    def answers(self) -> bool:
        """Tell whether the webserver is up and has loaded the code location."""
        assert self.process.poll() is None, self.tail()
        try:
            return bool(
                self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")["repositoriesOrError"]
            )
        except httpx.TransportError:
            return False

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-4000:]


@contextmanager
def running_dev(home: Path, settings: Mapping[str, str]) -> Generator[DagsterDev]:
    """Run ``dagster dev`` while the ``with`` block lasts; afterwards nothing of it is left, runs included."""
    port = _free_port()
    log = home.with_suffix(".log")
    command = [str(BIN / "dagster"), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    environment = {**plain_environment(), **settings, "DAGSTER_HOME": str(home)}
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603  # our own command
            command, cwd=PROJECT, env=environment, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True
        )
    dev = DagsterDev(f"http://127.0.0.1:{port}", home, log, process)
    try:
        wait_for(dev.answers, _START_SECONDS, dev.tail)
        yield dev
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt it, as Ctrl-C does, then kill what is left of its process group."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def events_of(root: Path, provider: str) -> dict[RecordingKey, Event]:
    """Return the state of every recording of a provider in the archive at ``root``."""
    ledger = Ledger(open_storage(str(root)))
    return {key: event for day in ledger.days(provider) for key, event in ledger.read_day(provider, day).items()}


def differences(known: Mapping[RecordingKey, Event], truth: list[dict[str, Any]]) -> list[str]:
    """Say for each recording of ``truth`` how what is known of it differs; nothing is said of those that agree."""
    expected = {RecordingKey(row["provider"], row["execution_id"], Leg(row["leg"])): row for row in truth}
    found = [f"{key}: the truth does not know it" for key in known.keys() - expected.keys()]
    for key, row in expected.items():
        event = known.get(key)
        states = set(row["final_states"]) | ({"not_ready"} if "pending" in row["final_states"] else set())
        if event is None or event.life.state.value not in states:
            what = "not found" if event is None else f"{event.life.state} ({event.outcome}: {event.detail})"
            found.append(f"{key} ({row['scenario']}): {what}, should be {' or '.join(sorted(states))}")
        elif event.copy is not None and (event.copy.sha256, event.copy.bytes) != (row["sha256"], row["length"]):
            found.append(f"{key}: other bytes than the truth says")
    return found
