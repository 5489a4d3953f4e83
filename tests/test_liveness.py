"""A run whose process was killed does not keep its partitions for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import dagster as dg

from assets.liveness import dead_runs, hold
from assets.recordings.queue import DayRange
from pipelines.in_flight import days_in_flight, end_dead_runs

PROJECT = Path(__file__).parents[1]
HOLDER = """
import sys
from pathlib import Path
from assets.liveness import hold
hold(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def holder(home: Path, run_id: str) -> subprocess.Popen[str]:
    """Return a process that holds a run's lock."""
    command = [sys.executable, "-c", HOLDER, str(home), run_id]
    process = subprocess.Popen(  # noqa: S603 -- our own code
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    """A run lives while its process does, and is dead once that was killed."""
    hold(tmp_path, "mine")
    hold(tmp_path, "mine")
    with holder(tmp_path, "other") as process:
        assert dead_runs(tmp_path) == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert dead_runs(tmp_path) == ["other"]


def test_a_killed_run_frees_its_partition(tmp_path: Path) -> None:
    """A run that was started and whose process is gone is marked as failed; one that works, and one elsewhere, are not."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        day = DayRange(date(2026, 11, 20), date(2026, 11, 20))
        runs = [
            instance.create_run_for_job(
                dg.GraphDefinition(name="feather_retry", node_defs=[]).to_job(),
                status=dg.DagsterRunStatus.STARTED,
                tags={"dagster/partition": "2026-11-20"},
            )
            for _ in range(3)
        ]
        killed, working, elsewhere = runs
        with holder(tmp_path, killed.run_id) as dying, holder(tmp_path, working.run_id) as living:
            os.kill(dying.pid, signal.SIGKILL)
            dying.wait()
            assert end_dead_runs(instance) == 1
            assert end_dead_runs(instance) == 0
            statuses = [run.status for run in map(instance.get_run_by_id, (r.run_id for r in runs)) if run]
            assert statuses == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTED]
            assert days_in_flight(instance, "feather") == [day, day]
            living.kill()
        del elsewhere
