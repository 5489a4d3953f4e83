"""The demo's stage: the sandbox in its own process, impatient settings, and the comparison with the truth."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from assets.catalog.publication import local_catalog
from assets.executions import lake
from assets.recordings import names
from assets.recordings.audit.verification import verify_day
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import State
from assets.recordings.queue import DayRange
from pipelines.assembly import build_definitions
from pipelines.cli.query import ask
from pipelines.execution import Launcher
from pipelines.instance import HOME_VARIABLE, PROJECT, dagster_home, end_all_runs, open_instance
from pipelines.schedules import schedule_name
from pipelines.sensors import retry_sensor_name
from resources.archive import Archive, open_archive
from resources.clock import utc_now
from resources.dagster_archive import ArchiveResource
from resources.errors import ArchiveError
from resources.model import Leg, RecordingKey
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings

FOLDER = Path("demo")
NO_ENV_FILE = str(FOLDER / "no.env")
"""A file that is not there: the demo never reads the operator's own ``.env``."""

_SETTINGS = {
    "RETRY_BASE_SECONDS": "1",
    "RETRY_SLOW_SECONDS": "2",
    "RETRY_MAX_SECONDS": "4",
    "ABSENT_GRACE_SECONDS": "43200",
    "BLOCKED_RECHECK_SECONDS": "2",
    "KATAVEN_RATE_LIMITS": "6000/minute,1000000/hour,10000000/day",
    "ARCHIVE_SENSOR_INTERVAL_SECONDS": "1",
    "ARCHIVE_AUTOMATION": "stopped",
}
"""Impatient settings, so that hours of waiting take seconds. Kataven's documented rate limits do not bind the sandbox."""

_ROUND_SECONDS = 1.0
_SCHEDULE_EVERY_ROUNDS = 3
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class World:
    """A running sandbox: where it answers, and the environment that points the archive at it."""

    api_origin: str
    env: Mapping[str, str]
    first: date
    last: date

    def ask(self, name: str) -> Any:  # noqa: ANN401 -- JSON
        """Return one of the sandbox's own documents: truth, requests or secrets."""
        return httpx.get(f"{self.api_origin}/_sandbox/{name}", timeout=60, trust_env=False).raise_for_status().json()


@dataclass(frozen=True, slots=True)
class Difference:
    """A recording that did not end as the sandbox's truth says."""

    recording: str
    scenario: str
    words: str


@contextmanager
def alone() -> Generator[None]:
    """Hold the demo's lock: two demos in one folder would disturb each other.

    Raises:
        ArchiveError: another demo runs here.
    """
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            msg = f"another demo runs in {FOLDER.resolve()}: wait for its end"
            raise ArchiveError(msg) from None
        yield


@contextmanager
def running_world(recordings: int, megabytes: float, seed: int) -> Generator[World]:
    """Start the sandbox with the world of this folder, and stop it at the end.

    The world's moment is kept in ``demo/world.json``, so that the demo of tomorrow finds today's recordings archived.

    Raises:
        ArchiveError: the folder holds another world, or the sandbox does not start.
    """
    facts = FOLDER / "world.json"
    chosen = {"recordings": recordings, "megabytes": megabytes, "seed": seed}
    if not facts.exists():
        partial = facts.with_suffix(".partial")
        partial.write_text(json.dumps({**chosen, "anchor": utc_now().isoformat()}))
        partial.replace(facts)
    kept = json.loads(facts.read_text())
    anchor = kept.pop("anchor")
    if kept != chosen:
        msg = f"{FOLDER}/ holds the demo of {kept}, and you asked for {chosen}: remove {FOLDER}/ (make clean) or ask for the same"
        raise ArchiveError(msg)
    arguments = [
        "--anchor",
        anchor,
        "--continued",
        "--seed",
        str(seed),
        "--recordings",
        str(recordings),
        "--megabytes",
        str(megabytes),
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with (FOLDER / "sandbox.log").open("w") as log, tempfile.TemporaryDirectory(prefix="recording-archive-") as private:
        # The sandbox's keys, and its session inventory with a presigned URL in it, never lie below demo/: the ready file in this
        # folder, the inventory in one that the sandbox makes, and removes when it ends or its parent is gone.
        ready_file = Path(private) / "sandbox.json"
        arguments += ["--ready-file", str(ready_file), "--exit-with-parent"]
        process = subprocess.Popen(  # noqa: S603 -- our own module
            [sys.executable, "-m", "sandbox", *arguments], stdout=log, stderr=log, env=environment
        )
        try:
            ready = _await_ready(process, ready_file)
            ready_file.unlink()
            window = ready["window"]
            yield World(
                ready["api_origin"], ready["env"], date.fromisoformat(window["first"]), date.fromisoformat(window["last"])
            )
        finally:
            process.terminate()
            process.wait(timeout=20)


def _await_ready(process: subprocess.Popen[bytes], ready_file: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            msg = f"the sandbox did not start: see {FOLDER / 'sandbox.log'}"
            raise ArchiveError(msg)
        time.sleep(0.05)
    return json.loads(ready_file.read_text())


def use_environment(world: World) -> None:
    """Point this process at the sandbox, and all that it writes below ``demo/``."""
    os.environ.update(_SETTINGS)
    os.environ.update(world.env)
    os.environ["ARCHIVE_START_DATE"] = world.first.isoformat()
    os.environ["ARCHIVE_REREAD_DAYS"] = str((utc_now().date() - world.first).days + 1)
    os.environ["ARCHIVE_ROOT"] = str(FOLDER / "archive")
    os.environ[HOME_VARIABLE] = str((FOLDER / "dagster").resolve())


@dataclass(slots=True)
class Play:
    """One demo: runs until everything is as the truth says, or the time is over."""

    world: World
    say: Callable[[str], None]
    runs: int = 0
    verified: int = 0
    requests: dict[str, Any] = field(default_factory=dict[str, Any])
    _archive: Archive | None = None

    @property
    def archive(self) -> Archive:
        """The demo's archive, as any reader would open it."""
        if self._archive is None:
            self._archive = open_archive(load_settings(NO_ENV_FILE))
        return self._archive

    def run(self, timeout: float) -> list[Difference]:
        """Run the jobs, then let schedules and sensors bring in the rest; return what differs from the truth."""
        deadline = time.monotonic() + timeout
        truth = self.world.ask("truth")["recordings"]
        archived_before = {key for key, event in self.events().items() if event.copy is not None}
        with open_instance(dagster_home()) as instance:
            dead = end_all_runs(instance)
            if dead:
                self.say(f"{dead} runs of an earlier demo were broken off; their work is taken up again")
            resource = ArchiveResource(env_file=NO_ENV_FILE)
            launcher = Launcher(build_definitions(load_settings(NO_ENV_FILE), resource), instance, resource)
            self._first_runs(launcher)
            differences = self._rounds(launcher, truth, deadline)
            failed = launcher.publish().failures
            self.runs = len(launcher.runs)
        self.requests = self.world.ask("requests")
        differences += [Difference("catalog", "publication", text) for text in failed]
        return differences + self._fetched_again(archived_before) + self._read_back() + self._strays() + self._catalog()

    def _first_runs(self, launcher: Launcher) -> None:
        span = DayRange(self.world.first, self.world.last)
        for provider in PROVIDERS:
            result = launcher.archive(provider, span)
            for text in result.failures:
                self.say(f"{provider}: {text}")
            self.say(f"{provider}: {self._line(provider)}")
        launcher.publish()

    def _rounds(self, launcher: Launcher, truth: list[dict[str, Any]], deadline: float) -> list[Difference]:
        """Tick sensors and schedules as the daemon would, until nothing differs."""
        number = 0
        while True:
            differences = self.compare(truth)
            if not differences or time.monotonic() > deadline:
                return differences
            time.sleep(_ROUND_SECONDS)
            number += 1
            for provider in PROVIDERS:
                before = len(launcher.runs)
                launcher.tick_sensor(retry_sensor_name(provider))
                if number % _SCHEDULE_EVERY_ROUNDS == 0:
                    launcher.tick_schedule(schedule_name(provider), utc_now())
                if len(launcher.runs) > before:
                    self.say(f"{provider}: came back: {self._line(provider)}")

    def compare(self, truth: list[dict[str, Any]]) -> list[Difference]:
        """Compare the ledger with the truth, recording by recording."""
        known = self.events()
        expected = {RecordingKey(row["provider"], row["execution_id"], Leg(row["leg"])): row for row in truth}
        differences = [found for key, row in expected.items() if (found := _difference(known.get(key), key, row))]
        differences += [Difference(str(key), "none", "the truth does not know it") for key in known.keys() - expected.keys()]
        return differences

    def events(self) -> dict[RecordingKey, Event]:
        """Return the state of every recording."""
        ledger = Ledger(self.archive.storage)
        return {
            key: event
            for provider in PROVIDERS
            for day in ledger.days(provider)
            for key, event in ledger.read_day(provider, day).items()
        }

    def numbers(self) -> dict[str, Any]:
        """Return the demo's figures: for each provider states and bytes, and what this time was asked of the sandbox."""
        lanes: dict[str, Any] = {}
        events = self.events()
        for provider in PROVIDERS:
            mine = [event for key, event in events.items() if key.provider == provider]
            rows = (
                lake.read_partition(self.archive.storage, PROVIDERS[provider], day).num_rows
                for day in lake.partitions(self.archive.storage, provider)
            )
            lanes[provider] = {
                "executions": sum(rows),
                "states": dict(Counter(event.life.state.value for event in mine)),
                "bytes": sum(event.copy.bytes for event in mine if event.copy is not None),
                "flawed": sum(event.flaw is not None for event in mine),
            }
        recordings = self.requests.get("recordings", [])
        return {
            "providers": lanes,
            "runs": self.runs,
            "verified": self.verified,
            "links": sum(row["link_asks"] for row in recordings),
            "fetched": sum(row["media_gets"] > 0 for row in recordings),
        }

    def refusals(self) -> list[list[Any]]:
        """Return (provider, count, reason) for what ended without a copy."""
        reasons = Counter(
            (key.provider, f"{event.life.state.value}: {event.detail or event.outcome.value}")
            for key, event in self.events().items()
            if event.copy is None
        )
        return [[provider, count, reason] for (provider, reason), count in sorted(reasons.items())]

    def _line(self, provider: str) -> str:
        states = Counter(event.life.state.value for key, event in self.events().items() if key.provider == provider)
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))

    def _fetched_again(self, archived_before: set[RecordingKey]) -> list[Difference]:
        """What was archived when the demo began must not have been asked for."""
        asked = {
            RecordingKey(row["provider"], row["execution_id"], Leg(row["leg"]))
            for row in self.requests["recordings"]
            if row["link_asks"] or row["media_gets"]
        }
        return [Difference(str(key), "archived before", "was fetched again") for key in sorted(asked & archived_before)]

    def _strays(self) -> list[Difference]:
        """Below ``recordings/`` lies one object and one sidecar for each archived recording, and nothing else."""
        copies = [(key, event.day, event.copy) for key, event in self.events().items() if event.copy is not None]
        expected = {copy.path for _, _, copy in copies}
        expected |= {names.sidecar_path(key.provider, day, key.execution_id, key.leg, copy.number) for key, day, copy in copies}
        found = {info.path for info in self.archive.storage.list(names.RECORDINGS)}
        return [Difference(path, "disk", "belongs to no archived recording") for path in sorted(found - expected)]

    def _catalog(self) -> list[Difference]:
        """The published catalog says what the ledger says, and has every execution of the truth."""
        storage, catalog = self.archive.storage, local_catalog(self.archive.storage, FOLDER)
        _, states = ask(storage, catalog, "SELECT provider, execution_id, leg, state, coalesce(sha256, '') FROM recordings")
        said = {tuple(row) for row in states}
        known = {
            (key.provider, key.execution_id, key.leg.value, event.life.state.value, event.copy.sha256 if event.copy else "")
            for key, event in self.events().items()
        }
        _, listed = ask(storage, catalog, "SELECT provider, execution_id FROM executions")
        executions = {(row["provider"], row["execution_id"]) for row in self.world.ask("truth")["executions"]}
        differences = [Difference("/".join(row[:3]), "catalog", f"says {row[3]}") for row in sorted(said ^ known)]
        missing = sorted(executions ^ {tuple(row) for row in listed})
        return differences + [Difference("/".join(row), "catalog", "execution missing or unknown") for row in missing]

    def _read_back(self) -> list[Difference]:
        ledger = Ledger(self.archive.storage)
        verdicts = [v for name in PROVIDERS for day in ledger.days(name) for v in verify_day(ledger, name, day)]
        self.verified = sum(verdict.is_copy and verdict.fault is None for verdict in verdicts)
        return [Difference(str(verdict.key or verdict.path), "read back", verdict.fault) for verdict in verdicts if verdict.fault]


def _difference(event: Event | None, key: RecordingKey, row: Mapping[str, Any]) -> Difference | None:
    scenario = str(row["scenario"])
    if event is None:
        return Difference(str(key), scenario, "not found")
    accepted = set(row["final_states"]) | ({"not_ready"} if "pending" in row["final_states"] else set())
    if event.life.state.value not in accepted:
        words = f"is {event.life.state.value} ({event.outcome.value}: {event.detail}), should be {' or '.join(sorted(accepted))}"
        return Difference(str(key), scenario, words)
    if event.life.state is State.ARCHIVED:
        if event.copy is None:
            return Difference(str(key), scenario, "is archived, and no copy is named")
        if (event.copy.sha256, event.copy.bytes) != (row["sha256"], row["length"]):
            return Difference(str(key), scenario, f"has {event.copy.bytes} bytes and {event.copy.sha256}, not those of the truth")
        if event.flaw != row["flaw"]:
            words = (
                f"is flagged {event.flaw}, should be {row['flaw']}: {event.copy.media_seconds} s, told {event.expected_seconds} s"
            )
            return Difference(str(key), scenario, words)
    return None
