"""kill -9 at any moment: nothing partial is visible, and the next demo makes it whole without a second copy."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.end_to_end.command import Operator, wait_until
from tests.end_to_end.conftest import DEMO, demo_truth
from tests.end_to_end.truth import assert_right, assert_whole, media_files

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("KILLS_SEED", "20261121"))
_FEWEST_FILES, _MOST_FILES = 4, 150
"""Files below demo/archive between which a kill may come: from the first writes to shortly before the end of a demo."""


def _files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def test_killed_at_any_moment_it_ends_well_the_next_time(tmp_path: Path) -> None:
    """After each kill every visible object is whole; the demo after the last one succeeds, with one object for each recording."""
    folder = tmp_path / "work"
    folder.mkdir()
    operator = Operator(folder)
    archive = folder / "demo" / "archive"
    rng = random.Random(SEED)  # noqa: S311 -- moments, not secrets
    moments = sorted(rng.randint(_FEWEST_FILES, _MOST_FILES) for _ in range(KILLS))
    killed = 0
    for moment in moments:
        before = _files(archive)
        goal = max(moment, before + rng.randint(1, 6))
        process = operator.start(*DEMO, "--json")
        wait_until(lambda goal=goal, process=process: process.poll() is not None or _files(archive) >= goal, f"{goal} files")
        killed += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        ended = operator.ended(process)
        assert ended.code in (0, -signal.SIGKILL), ended.text
        assert_whole(archive, demo_truth(folder))
    assert killed >= min(KILLS, 3), f"killed {killed} times at {moments}"
    kept = {path: path.stat().st_ino for path in media_files(archive)}
    ended = operator.run(*DEMO, "--json")
    assert ended.code == 0, ended.text
    assert ended.json["differences"] == []
    assert_right(archive, demo_truth(folder))
    assert {path: path.stat().st_ino for path in kept} == kept, "a recording was written a second time"
    assert list((archive / ".tmp").iterdir()) == []
