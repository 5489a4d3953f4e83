"""From executions to the ledger: in parts, each recording once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from assets.executions.ingest import ExpectedRecording
from assets.recordings.discovery import Discovery
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Outcome, Policy, State
from resources.model import Leg
from resources.storage import open_storage

DAY, OTHER = date(2026, 11, 20), date(2026, 11, 21)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def expected(*numbers: int, terminal: bool = False) -> list[ExpectedRecording]:
    """Return the recordings of some executions."""
    return [ExpectedRecording(f"e{number}", Leg.MAIN, terminal, None, None) for number in numbers]


def test_a_day_in_parts_asks_the_ledger_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of parts, a day is read once, and a recording that comes in two of them is discovered once."""
    ledger = Ledger(open_storage(str(tmp_path)))
    read_day, asked = ledger.read_day, []
    monkeypatch.setattr(Ledger, "read_day", lambda _, provider, day: asked.append(day) or read_day(provider, day))
    discovery = Discovery(ledger, "feather", run_id="run", now=NOW, policy=Policy())
    found = [discovery(DAY, expected(*part)) for part in ((1, 2), (2, 3), (4,))]
    assert [finding.discovered for finding in found] == [2, 1, 1]
    assert asked == [DAY]
    assert discovery(OTHER, expected(9)).discovered == 1
    assert discovery(DAY, expected(1, terminal=True)).ended == 1
    assert {key.execution_id for key in read_day("feather", DAY)} == {"e1", "e2", "e3", "e4"}


def test_what_another_run_has_settled_meanwhile_is_not_new(tmp_path: Path) -> None:
    """A slow run that read the day before another one discovered, came to an end and folded begins no history anew."""
    ledger = Ledger(open_storage(str(tmp_path)))
    slow = Discovery(ledger, "feather", run_id="slow", now=NOW, policy=Policy())
    assert slow(DAY, expected(1)).discovered == 1
    assert Discovery(ledger, "feather", run_id="quick", now=NOW, policy=Policy())(DAY, expected(2)).discovered == 1
    for event in ledger.read_day("feather", DAY).values():
        ended = replace(event.life, state=State.ABSENT, next_attempt_at=None)
        ledger.append([replace(event, event_id=uuid4().hex, seq=2, outcome=Outcome.ABSENT, life=ended)], NOW)
    ledger.fold("feather")
    assert slow(DAY, expected(1, 2, 3)).discovered == 1
    assert [key.execution_id for key in ledger.read_open("feather")] == ["e3"]
