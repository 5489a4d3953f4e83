"""What a person sees and does in Dagster's web interface, on a real ``dagster dev`` that nothing else drives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import FloatRect, Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from assets.recordings.queue import DayRange
from pipelines.in_flight import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG, days_in_flight
from resources.providers.registry import PROVIDERS
from sandbox.options import WorldOptions
from sandbox.server import Sandbox, running_sandbox
from tests.dagster.dev import (
    BIN,
    DagsterDev,
    archive_environment,
    differences,
    events_of,
    new_home,
    plain_environment,
    running_dev,
    wait_for,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("dagster")]

RUN_SECONDS = 60.0
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

LOOKS = 4
LOOK_MILLISECONDS = 15_000
_PANEL = "panel_show_right"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
RUN = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@dataclass
class Stage:
    """A ``dagster dev`` on an archive that holds all but Feather's recordings, and the sandbox that it asks."""

    dev: DagsterDev
    sandbox: Sandbox
    root: Path

    @property
    def days(self) -> list[str]:
        """The three days of the world."""
        window = self.sandbox.window
        span = DayRange(date.fromisoformat(window["first"]), date.fromisoformat(window["last"]))
        return [day.isoformat() for day in span.days]

    def missing(self, days: list[str]) -> list[str]:
        """Say what is wrong with Feather's recordings of ``days``."""
        truth = self.sandbox.truth()["recordings"]
        expected = [row for row in truth if row["provider"] == "feather" and row["date"] in days]
        known = {key: event for key, event in events_of(self.root, "feather").items() if event.day.isoformat() in days}
        return differences(known, expected)

    def launch_and_wait(self, tags: Mapping[str, str], span: str) -> None:
        """Launch executions and recordings of Feather as the web interface does, see ``span`` in flight, and wait for the end."""
        assert self.missing(self.days)
        selector = {
            "repositoryLocationName": "recording-archive",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": ["feather", kind]} for kind in ("executions", "recordings")],
        }
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        params = {"selector": selector, "mode": "default", "runConfigData": {}, "executionMetadata": metadata}
        launched = self.dev.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        assert self._in_flight() == [span]
        wait_for(lambda: self._status(launched["run"]["runId"]) in ENDED, RUN_SECONDS, self.dev.tail)
        assert self._status(launched["run"]["runId"]) == "SUCCESS", self.dev.tail()
        assert self._in_flight() == []

    def _status(self, run: str) -> str:
        return self.dev.ask(RUN, id=run)["runOrError"]["status"]

    def _in_flight(self) -> list[str]:
        """Return the days that the retry sensor would leave alone now."""
        with dg.DagsterInstance.from_config(str(self.dev.home)) as instance:
            return [str(span) for span in days_in_flight(instance, "feather")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run ``dagster dev`` on a home in which Feather had no key so far; its schedules and sensors are off."""
    folder = tmp_path_factory.mktemp("ui")
    root = folder / "archive"
    with running_sandbox(WorldOptions(recordings=40, megabytes=2, calm=True)) as sandbox:
        settings = archive_environment(sandbox, root, "stopped")
        home = new_home(folder / "home")
        others = {name: value for name, value in settings.items() if name != "FEATHER_API_KEY"}
        environment = {**plain_environment(), **others, "DAGSTER_HOME": str(home)}
        # Not in the project's folder: its .env, if there is one, is not ours to use.
        subprocess.run([BIN / "recording-archive", "run"], cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S603  # our own command
        with running_dev(home, settings) as dev:
            yield Stage(dev, sandbox, root)


def test_a_person_launches_a_partition(stage: Stage) -> None:
    """A partition of executions and recordings, launched by hand, is archived; meanwhile the sensor would leave it alone."""
    day = stage.days[-1]
    stage.launch_and_wait({PARTITION_TAG: day}, day)
    assert stage.missing([day]) == []


def test_a_person_launches_a_range_as_a_single_run(stage: Stage) -> None:
    """Several partitions as one run, as the launch dialog and a backfill make it, are archived, and are in flight meanwhile."""
    days = stage.days[:2]
    stage.launch_and_wait({RANGE_START_TAG: days[0], RANGE_END_TAG: days[1]}, f"{days[0]}..{days[1]}")
    assert stage.missing(days) == []


@pytest.fixture
def page() -> Iterator[Page]:
    """Return a page of a real Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        words = "the browser tests need Chromium: install it (package chromium), or name it in the variable CHROMIUM"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(words)
    expect.set_options(timeout=LOOK_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser.new_page(viewport={"width": 1800, "height": 1000})
        browser.close()


def test_the_lineage_shows_a_lane_for_each_provider(stage: Stage, page: Page, tmp_path: Path) -> None:
    """Executions and recordings of each provider lie in a lane of their own, and the catalog below them all."""
    _open_lineage(stage, page)
    boxes = page.locator("foreignObject")
    catalog = _place(boxes.filter(has_text="DuckDB"))
    lanes = [_place(boxes.filter(has_text=re.compile(f"^{name}$"))) for name in PROVIDERS]
    for name, lane in zip(PROVIDERS, lanes, strict=True):
        for kind in ("executions", "recordings"):
            node = boxes.filter(has=page.locator(f'a[href^="/assets/{name}/{kind}?"]'))
            expect(node).to_contain_text(re.compile(r"\d+% filled"))
            place = _place(node)
            assert lane["x"] < place["x"] < place["x"] + place["width"] < lane["x"] + lane["width"]
            assert lane["y"] < place["y"] < catalog["y"]
    left_to_right = sorted(lanes, key=lambda lane: lane["x"])
    assert all(one["x"] + one["width"] < next_one["x"] for one, next_one in pairwise(left_to_right))
    picture = Path(os.environ.get("SCREENSHOT") or tmp_path / "lanes.png")
    page.screenshot(path=picture)
    assert picture.stat().st_size < 400_000


def _open_lineage(stage: Stage, page: Page) -> None:
    """Open the lineage of all assets, with its details.

    The page chooses its zoom when the layout is done, from the room that there is then; on a busy machine that may be before the
    navigation is hidden, and too little for details. Then it is opened again.
    """
    groups = ",".join(f"global@global:{group}" for group in (*PROVIDERS, "catalog"))
    page.add_init_script("localStorage.setItem('asset-graph-direction', '\"vertical\"')")
    details = page.locator("foreignObject").filter(has_text="DuckDB")
    for _ in range(LOOKS):
        page.goto(f"{stage.dev.origin}/asset-groups?expanded={groups}")
        for button in (
            page.get_by_text("Hide navigation"),
            page.get_by_role("button").filter(has=page.get_by_label(_PANEL)).first,
        ):
            with suppress(PlaywrightTimeoutError):
                button.click(timeout=LOOK_MILLISECONDS)
        with suppress(AssertionError):
            expect(details).to_be_visible(timeout=LOOK_MILLISECONDS)
            return


def _place(locator: Locator) -> FloatRect:
    expect(locator).to_be_visible()
    place = locator.bounding_box()
    assert place is not None
    return place
