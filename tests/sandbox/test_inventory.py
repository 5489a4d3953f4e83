"""The session inventory of the provider that lists nothing."""

from __future__ import annotations

import csv
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from tests.sandbox.client import Customer, HandClock


def _sessions(folder: Path) -> tuple[dict[str, datetime], int]:
    """Return session id to start, and how many lines could not be read."""
    starts: dict[str, datetime] = {}
    bad = 0
    with (folder / "sessions-dialer.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                starts[row["session_id"]] = datetime.fromisoformat(row["started_at"])
            except ValueError:
                bad += 1
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                bad += 1
            else:
                starts[row["session_id"]] = datetime.fromisoformat(row["started_at"])
    for row in pq.read_table(folder / "sessions-warehouse.parquet").to_pylist():
        starts[row["session_id"]] = row["started_at"]
    return starts, bad


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 5
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def test_the_inventory_lists_every_session(fresh_customer: Customer, fresh_clock: HandClock) -> None:
    """CSV, JSON Lines and Parquet together list all sessions, two malformed lines aside; late ones get a file later."""
    folder = Path(fresh_customer.sandbox.env["KATAVEN_SESSIONS"])
    truth = {
        execution["execution_id"]: datetime.fromisoformat(execution["created_at"])
        for execution in fresh_customer.sandbox.truth()["executions"]  # type: ignore[union-attr]
        if execution["provider"] == "kataven"
    }
    (late,) = fresh_customer.recordings("kataven", "late-row")
    starts, bad = _sessions(folder)
    assert bad == 2
    assert truth.keys() - starts.keys() == {late["execution_id"]}
    fresh_clock.move(5)
    _wait_for(folder / "sessions-late.jsonl")
    starts, _ = _sessions(folder)
    assert starts == truth


def test_the_inventory_has_a_local_day_that_is_not_the_utc_day(customer: Customer) -> None:
    """Some times are told with an offset, so that their date is not the partition's."""
    lines = (Path(customer.sandbox.env["KATAVEN_SESSIONS"]) / "sessions-app.jsonl").read_text().splitlines()
    told = [json.loads(line)["started_at"] for line in lines if line.endswith("}")]
    assert any(text[:10] != datetime.fromisoformat(text).astimezone(UTC).isoformat()[:10] for text in told)
