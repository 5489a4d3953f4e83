"""The real daemon, without a hand: schedules and sensors bring everything in, and the catalog stays open to readers."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.in_flight import RANGE_END_TAG, RANGE_START_TAG
from resources.providers.registry import PROVIDERS
from sandbox.options import WorldOptions
from sandbox.server import running_sandbox
from tests.dagster.dev import DagsterDev, archive_environment, differences, events_of, new_home, running_dev, wait_for

pytestmark = [pytest.mark.daemon, pytest.mark.slow, pytest.mark.xdist_group("dagster")]

# Up to a minute until the schedule's first tick, then three rounds of queue, run and retry on a busy machine.
DEADLINE_SECONDS = 170.0

RUNS = """
{ runsOrError(limit: 500) { ... on Runs { results { jobName status startTime endTime tags { key value } } } } }
"""


class Analyst(threading.Thread):
    """Opens the catalog again and again, read-only, from the moment at which it appears."""

    def __init__(self, catalog: Path) -> None:
        super().__init__(name="analyst", daemon=True)
        self.catalog = catalog
        self.opened = 0
        self.archived: set[tuple[str, ...]] = set()
        self.fault: Exception | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Read until told to end, or until a read fails."""
        while self.fault is None and not self._ended.wait(0.1):
            if self.catalog.exists():
                self._read()

    def end(self) -> None:
        """Read no more."""
        self._ended.set()
        self.join()

    def _read(self) -> None:
        query = "SELECT provider, execution_id, leg FROM recordings WHERE state = 'archived'"
        try:
            with duckdb.connect(str(self.catalog), read_only=True) as connection:
                self.archived = set(connection.execute(query).fetchall())
        except duckdb.Error as error:
            self.fault = error
        else:
            self.opened += 1


def test_everything_arrives_by_itself_and_the_catalog_stays_open(tmp_path: Path) -> None:
    """Nobody launches anything, and every recording ends as the truth says, in storage and in the catalog."""
    root = tmp_path / "archive"
    analyst = Analyst(root / "archive.duckdb")
    options = WorldOptions(recordings=60, megabytes=8, not_ready_asks=1)
    with running_sandbox(options) as sandbox:
        truth = sandbox.truth()["recordings"]
        with running_dev(new_home(tmp_path / "home"), archive_environment(sandbox, root, "running")) as dev:
            analyst.start()
            try:
                wait_for(
                    lambda: analyst.fault or (_archived(root) == analyst.archived and not _missing(root, truth)),
                    DEADLINE_SECONDS,
                    lambda: "\n".join([*_missing(root, truth)[:5], dev.tail()]),
                )
            finally:
                analyst.end()
            runs = _runs(dev)
    assert analyst.fault is None
    assert analyst.opened > 1
    assert not [run for run in runs if run["status"] == "FAILURE"]
    window = sandbox.window
    for provider in PROVIDERS:
        mine = [run for run in runs if run["jobName"].startswith(provider)]
        scheduled = [run for run in mine if run["tags"].get("dagster/schedule_name") == f"{provider}_hourly"][-1]  # the first
        assert scheduled["tags"][RANGE_START_TAG] == window["first"]
        assert scheduled["tags"][RANGE_END_TAG] >= window["last"]
        assert any(run["tags"].get("dagster/sensor_name") == f"{provider}_retry_sensor" for run in mine)
        assert _one_after_the_other(mine)


def _missing(root: Path, truth: list[dict[str, Any]]) -> list[str]:
    return differences({key: event for name in PROVIDERS for key, event in events_of(root, name).items()}, truth)


def _archived(root: Path) -> set[tuple[str, ...]]:
    events = [item for name in PROVIDERS for item in events_of(root, name).items()]
    return {(key.provider, key.execution_id, key.leg.value) for key, event in events if event.copy is not None}


def _runs(dev: DagsterDev) -> list[dict[str, Any]]:
    found = dev.ask(RUNS)["runsOrError"]["results"]
    return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]


def _one_after_the_other(runs: list[dict[str, Any]]) -> bool:
    spans = sorted((run["startTime"], run["endTime"] or float("inf")) for run in runs if run["startTime"] is not None)
    return all(one_end <= next_start for (_, one_end), (next_start, _) in pairwise(spans))
