"""Files of the lake that rotted or were cut off: which command says so, and what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.options import WorldOptions
from sandbox.server import Sandbox
from tests.end_to_end.command import Operator
from tests.end_to_end.conftest import all_days

pytestmark = pytest.mark.slow

FAILED, PERSON = 1, 3


@pytest.fixture(scope="module")
def world() -> WorldOptions:
    """Four recordings of each provider on one day, all ready."""
    return WorldOptions(recordings=12, megabytes=1, days=1, calm=True)


@pytest.fixture
def lake(operator: Operator, sandbox: Sandbox) -> Path:
    """Return the lake of an archive that was filled, compacted and found right."""
    assert operator.run("run", "feather", *all_days(sandbox), "--json").code == 0
    compacted = operator.run("compact")
    assert compacted.code == 0, compacted.text
    assert "files before" in compacted.out
    verified = operator.run("verify", "--json")
    assert (verified.code, verified.json["faults"]) == (0, [])
    return operator.folder / "archive" / "lake"


def truncate(lake: Path, pattern: str) -> str:
    """Leave the first half of the one file of this pattern, and return its path as the archive says it."""
    path = max(lake.glob(pattern))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.relative_to(lake.parent).as_posix()


def test_verify_names_what_a_compaction_passes_over(operator: Operator, lake: Path) -> None:
    """Compacted events and executions that were cut off: nothing has to read them for a compaction, and verify names both."""
    damaged = {
        truncate(lake, "recording_events/provider=feather/date=*/history-*.parquet"),
        truncate(lake, "executions/provider=feather/date=*/*.parquet"),
    }
    verified = operator.run("verify", "--json")
    assert verified.code == PERSON, verified.text
    assert {fault["path"] for fault in verified.json["faults"]} >= damaged
    day = next(iter(damaged)).partition("/date=")[2][:10]
    assert {fault["path"] for fault in operator.run("verify", "feather", "--date", day, "--json").json["faults"]} >= damaged


def test_a_ledger_without_its_list_of_days(operator: Operator, lake: Path) -> None:
    """Status says what is gone and what to run; that makes it again."""
    before = operator.run("status", "--json")
    gone = max((lake / "ledger/provider=feather").glob("*.days.json"))
    gone.unlink()
    asked = operator.run("status")
    assert asked.code == FAILED
    assert gone.name in asked.err
    assert "recording-archive compact" in asked.err
    assert operator.run("compact").code == 0
    after = operator.run("status", "--json")
    assert (after.code, after.json) == (before.code, before.json)


def test_a_compaction_that_failed_says_why_and_reports_nothing(operator: Operator, lake: Path) -> None:
    """It names the file and the command that mends it; no numbers of files that it has not looked at. Then that command works."""
    damaged = truncate(lake, "ledger/provider=feather/snapshots/*.json")
    failed = operator.run("compact")
    assert (failed.code, failed.out) == (FAILED, ""), failed.text
    assert failed.err.startswith("failed: ")
    assert damaged in failed.err
    assert "recording-archive rebuild" in failed.err
    assert operator.run("rebuild", "--json").code == 0
    again = operator.run("compact")
    assert again.code == 0, again.text
