"""A copy that plays for another time than its provider says is flagged, from the sandbox to the catalog and the asset check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from click.testing import CliRunner
from dagster import DagsterInstance
from hypothesis import given
from hypothesis import strategies as st

from assets.catalog.publication import publish
from assets.executions.ingest import ExpectedRecording, ingest
from assets.recordings.archiving import archive_day
from assets.recordings.asset import PLAYS_AS_SAID
from assets.recordings.discovery import Finding, discover
from assets.recordings.duration import Tolerance
from assets.recordings.events import Event, Flaw
from assets.recordings.lifecycle import Outcome, Policy, State
from assets.recordings.queue import DayRange
from assets.recordings.sidecar import read_sidecar
from pipelines.assembly import build_definitions
from pipelines.cli import cli
from pipelines.execution import Launcher
from resources.dagster_archive import ArchiveResource
from resources.model import Leg, RecordingKey
from resources.providers.protocol import Bound
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings
from sandbox.options import WorldOptions
from tests.conftest import Bench, TestRuntime
from tests.dagster.dev import new_home, write_env_file

SECONDS = st.floats(0.1, 100_000)
WRONG = "wrong-length"


def read_in(bench: Bench, provider: str) -> None:
    """Read the executions of all days, as the executions asset does."""

    def tell(day: date, expected: Any) -> None:  # noqa: ANN401 -- a sequence of what is expected
        discover(bench.ledger, provider, day, expected, run_id="test", now=bench.clock.now(), policy=Policy())

    client, spec = bench.archive.provider(provider), PROVIDERS[provider]
    report = ingest(client, spec, bench.archive.storage, bench.days(provider), now=bench.clock.now(), before_write=tell)
    assert report.error is None


def archived(bench: Bench, provider: str) -> dict[RecordingKey, Event]:
    """Read a provider in, archive it, and return the archived recordings."""
    read_in(bench, provider)
    for day in bench.days(provider):
        archive_day(bench.archive, provider, day, "run-1")
    return {key: event for key, event in events_of(bench, provider).items() if event.life.state is State.ARCHIVED}


def events_of(bench: Bench, provider: str) -> dict[RecordingKey, Event]:
    """Return the state of every recording of a provider."""
    return {key: event for day in bench.ledger.days(provider) for key, event in bench.ledger.read_day(provider, day).items()}


def truth_of(bench: Bench, key: RecordingKey) -> dict[str, Any]:
    """Return what the sandbox knows of a recording."""
    name = (key.execution_id, key.leg.value)
    return next(row for row in bench.truth(key.provider) if (row["execution_id"], row["leg"]) == name)


@pytest.mark.parametrize("provider", list(PROVIDERS))
def test_exactly_the_wrong_ones_are_flagged(bench: Bench, provider: str) -> None:
    """Each copy knows how long it plays and should play, in event and sidecar; one that cannot be right is flagged, no other."""
    found = archived(bench, provider)
    flagged = {key for key, event in found.items() if event.flaw is Flaw.DURATION}
    assert {truth_of(bench, key)["scenario"] for key in flagged} == {WRONG}
    assert len(flagged) == 1
    for key, event in found.items():
        row = truth_of(bench, key)
        assert event.copy is not None
        assert event.copy.media_seconds == pytest.approx(row["duration_seconds"], abs=0.2)
        if event.expected_seconds is not None:
            assert event.expected_seconds == pytest.approx(row["told_seconds"])
        known = read_sidecar(bench.archive.storage, key, event.day)
        assert known is not None
        assert (known[0].media_seconds, known[0].expected_seconds) == (event.copy.media_seconds, event.expected_seconds)
    told = [event.expected_seconds is not None for event in found.values() if event.key.leg is Leg.MAIN]
    assert sum(told) >= len(told) - 2, "the sandbox leaves out one length, or writes it badly"
    assert [event.expected_seconds for event in found.values() if event.key.leg is Leg.SUPERVISOR] == (
        [None] if provider == "feather" else []
    )


def test_reading_again_says_nothing_new(bench: Bench) -> None:
    """Discovery is idempotent with lengths too: neither before nor after archiving does a second read add an event."""
    archived(bench, "feather")
    before = bench.ledger.events_table("feather").num_rows
    read_in(bench, "feather")
    assert bench.ledger.events_table("feather").num_rows == before


def told(bench: Bench, event: Event, seconds: float | None) -> Finding:
    """Have the provider say another length of one recording."""
    item = ExpectedRecording(event.key.execution_id, event.key.leg, True, event.life.ended_at, None, seconds)
    now = bench.clock.now()
    return discover(bench.ledger, event.key.provider, event.day, [item], run_id="test", now=now, policy=Policy())


def test_a_length_that_comes_after_the_copy_is_compared(bench: Bench) -> None:
    """Known late, it flags; corrected, it clears; unsaid, it stays; and the recording stays archived, its copy untouched."""
    bench.discover("kataven")
    row = next(row for row in bench.truth("kataven") if row["scenario"] == "ready")
    day, key = date.fromisoformat(row["date"]), RecordingKey("kataven", row["execution_id"], Leg.MAIN)
    archive_day(bench.archive, "kataven", day, "run-1")
    first = bench.ledger.read_day("kataven", day)[key]
    assert (first.life.state, first.flaw, first.expected_seconds) == (State.ARCHIVED, None, None)
    steps = [
        (row["duration_seconds"] + 60, 1, Flaw.DURATION),
        (row["duration_seconds"] + 60, 0, Flaw.DURATION),
        (row["duration_seconds"] + 1, 1, None),
        (None, 0, None),
        (1000.0, 1, Flaw.DURATION),
    ]
    for seconds, news, flaw in steps:
        assert told(bench, first, seconds).described == news
        now = bench.ledger.read_day("kataven", day)[key]
        assert (now.flaw, now.life, now.copy) == (flaw, first.life, first.copy)
        assert now.proved_base == first.proved_base
    bench.ledger.fold("kataven")
    assert bench.ledger.read_day("kataven", day)[key].flaw is Flaw.DURATION
    assert key not in bench.ledger.read_open("kataven")
    archive_day(bench.archive, "kataven", day, "run-2")
    assert bench.ledger.read_day("kataven", day)[key].outcome is Outcome.DESCRIBED


def test_a_length_that_comes_before_the_copy_is_used(bench: Bench) -> None:
    """What a later read says of a recording that waits reaches the event that archives it."""
    bench.discover("kataven")
    row = next(row for row in bench.truth("kataven") if row["scenario"] == "ready")
    day, key = date.fromisoformat(row["date"]), RecordingKey("kataven", row["execution_id"], Leg.MAIN)
    waiting = bench.ledger.read_day("kataven", day)[key]
    assert told(bench, waiting, 1000.0).described == 1
    after = bench.ledger.read_day("kataven", day)[key]
    assert (after.life, after.expected_seconds, after.flaw) == (waiting.life, 1000.0, None)
    archive_day(bench.archive, "kataven", day, "run-1")
    event = bench.ledger.read_day("kataven", day)[key]
    assert (event.life.state, event.flaw, event.expected_seconds) == (State.ARCHIVED, Flaw.DURATION, 1000.0)


def test_an_adopted_copy_is_compared_too(bench: Bench) -> None:
    """Found published without a sidecar: its playing time is read then, and the flag is the same."""
    read_in(bench, "feather")
    found = archived(bench, "feather")
    storage = bench.archive.storage
    for info in [*storage.list("lake/recording_tail"), *storage.list("recordings")]:
        if "-run-1" in info.path or info.path.endswith(".json"):
            storage.delete(info.path)
    again = archived(bench, "feather")
    assert {key: event.flaw for key, event in again.items() if key in found} == {key: event.flaw for key, event in found.items()}
    assert {event.outcome for key, event in again.items() if key in found} == {Outcome.ADOPTED}
    assert Flaw.DURATION in {event.flaw for event in again.values()}


def test_the_tolerance_is_a_setting(bench: Bench) -> None:
    """With enough of it nothing is flagged."""
    settings = {"media_duration_tolerance_seconds": 10_000.0}
    bench.archive.settings = bench.archive.settings.model_copy(update=settings)
    assert {event.flaw for event in archived(bench, "feather").values()} == {None}


@given(SECONDS, SECONDS, st.floats(0, 100), st.floats(0, 1))
def test_what_the_tolerance_allows(media: float, expected: float, seconds: float, share: float) -> None:
    """Either part allows by itself; "at most" allows whatever is shorter; the same length is always right."""
    for bound in Bound:
        tolerance = Tolerance(seconds, share)
        parts = [Tolerance(seconds, 0.0).holds(media, expected, bound), Tolerance(0.0, share).holds(media, expected, bound)]
        assert tolerance.holds(media, expected, bound) == any(parts)
        assert tolerance.holds(expected, expected, bound)
        if abs(media - expected) > max(seconds, share * expected):
            assert tolerance.holds(media, expected, bound) == (bound is Bound.AT_MOST and media < expected)


@given(st.one_of(st.none(), st.just(0.0), st.floats()))
def test_what_is_no_length_is_none(seconds: float | None) -> None:
    """Zero, negative, infinite and not-a-number lengths are nothing that a provider says."""
    from assets.executions.ingest import _length  # noqa: PLC0415

    found = _length(seconds)
    assert found is None or 0 < found < float("inf")
    assert found in (seconds, None)


# -- as people see it


@dataclass
class Desk:
    """Dagster's jobs over an archive of the sandbox."""

    bench: Bench
    launcher: Launcher
    env: dict[str, str]


@pytest.fixture
def desk(bench: Bench, tmp_path: Path) -> Iterator[Desk]:
    """The real jobs, in this process."""
    root = {"ARCHIVE_ROOT": bench.archive.settings.archive_root, "KATAVEN_RATE_LIMITS": "1000000/minute"}
    env = {**bench.sandbox.env, **root, "ARCHIVE_START_DATE": bench.sandbox.window["first"]}
    env_file = write_env_file(tmp_path / "settings.env", env)
    with DagsterInstance.from_config(str(new_home(tmp_path / "home"))) as instance:
        resource = ArchiveResource(env_file=env_file)
        yield Desk(bench, Launcher(build_definitions(load_settings(env_file), resource), instance, resource), env)


def check_of(desk: Desk, provider: str) -> dg.AssetCheckEvaluation:
    """Return the latest verdict of the check of a provider's recordings."""
    key = dg.AssetCheckKey(dg.AssetKey([provider, "recordings"]), PLAYS_AS_SAID)
    record = desk.launcher.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    assert record.event is not None
    evaluation = record.event.asset_check_evaluation
    assert evaluation is not None
    return evaluation


def test_people_see_the_flag(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check warns and names the copy, also in a later run that fetches nothing; catalog and status show it."""
    day = date.fromisoformat(next(row["date"] for row in desk.bench.truth("feather") if row["scenario"] == WRONG))
    span = DayRange(day, day)
    for _ in range(2):
        result = desk.launcher.archive("feather", span)
        assert result.failures == ()
        verdict = check_of(desk, "feather")
        assert (verdict.passed, verdict.severity) == (False, dg.AssetCheckSeverity.WARN)
    flagged = [event for event in events_of(desk.bench, "feather").values() if event.flaw is Flaw.DURATION]
    assert len(flagged) == 1
    assert flagged[0].copy is not None
    assert verdict.metadata["other_length"].value == 1
    assert flagged[0].copy.path in str(verdict.metadata["mismatches"].value)
    assert re.search(r"plays \d+\.\d s, and the provider says \d+\.\d s", verdict.description or "")
    publish(desk.bench.archive.storage, list(PROVIDERS.values()), desk.bench.clock.now())
    with duckdb.connect(str(Path(desk.bench.archive.settings.archive_root) / "archive.duckdb"), read_only=True) as connection:
        sql = "SELECT path, media_seconds, expected_seconds, archived_at FROM recordings WHERE flaw = 'duration'"
        rows = connection.execute(sql).fetchall()
    assert [row[:3] for row in rows] == [(flagged[0].copy.path, flagged[0].copy.media_seconds, flagged[0].expected_seconds)]
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(cli, ["status", "--json"])
    assert '"duration": 1' in shown.output
    assert "recordings.flaw" in CliRunner().invoke(cli, ["status"]).output


@pytest.fixture
def world() -> WorldOptions:
    """A world in which nothing happens late, so that every run sees the same."""
    return WorldOptions(recordings=60, megabytes=8, late_seconds=100_000)


@pytest.fixture
def clock() -> TestRuntime:
    """The clock of archive and sandbox."""
    return TestRuntime()
