"""Archiving what is due, against the sandbox's real HTTP servers."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assets.recordings import manifest, names
from assets.recordings.archiving import RunMemory, Selection, archive_day
from assets.recordings.audit.verification import verify_day
from assets.recordings.lifecycle import Outcome, State
from assets.recordings.report import DayReport
from resources.errors import BlockedError, SettingsError, StorageError, Subject
from resources.model import Leg, Link, RecordingKey
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage
from tests.conftest import Bench

READY = ("ready", "supervisor")


def archive_all(bench: Bench, provider: str, selection: Selection | None = None) -> list[DayReport]:
    """Archive every day of a provider."""
    return [archive_day(bench.archive, provider, day, "run-1", selection) for day in bench.days(provider)]


def media_gets(bench: Bench) -> int:
    """Return how many media GETs the sandbox has seen."""
    return sum(row["media_gets"] for row in bench.sandbox.requests()["recordings"])


def row_of(bench: Bench, provider: str, scenario: str = "ready") -> dict[str, Any]:
    """Return one recording of a scenario."""
    return next(row for row in bench.truth(provider) if row["scenario"] == scenario)


@pytest.mark.parametrize("provider", list(PROVIDERS))
def test_what_is_ready_is_archived_with_the_right_bytes(bench: Bench, provider: str) -> None:
    """Every ready recording is stored whole, with sidecar and manifest, under its detected type."""
    bench.discover(provider)
    archive_all(bench, provider)
    root = Path(bench.archive.settings.archive_root)
    ready = [row for row in bench.truth(provider) if row["scenario"] in READY]
    assert ready
    for row in ready:
        day = next(day for day in bench.days(provider) if day.isoformat() == row["date"])
        key = RecordingKey(provider, row["execution_id"], Leg(row["leg"]))
        event = bench.ledger.read_day(provider, day)[key]
        assert event.life.state is State.ARCHIVED, event
        assert event.copy is not None
        data = (root / event.copy.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["length"], row["sha256"])
        assert event.copy.path.rpartition(".")[0].endswith(f"/{row['leg']}")
        sidecar = msgspec.json.decode((root / names.sidecar_path(provider, day, key.execution_id, key.leg)).read_bytes())
        assert (sidecar["sha256"], sidecar["content_type"]) == (row["sha256"], row["content_type"])
        listed = manifest.parse_manifest((root / names.manifest_path(provider, day)).read_text())
        assert listed[event.copy.path] == row["sha256"]
    assert not [verdict for day in bench.days(provider) for verdict in verify_day(bench.ledger, provider, day) if verdict.fault]


def test_what_is_archived_is_never_fetched_again(bench: Bench) -> None:
    """A second run asks for no link and no byte of what is archived."""
    bench.discover("feather")
    archive_all(bench, "feather")
    archived = [name for name, state in bench.states("feather").items() if state == "archived"]
    before = {(row["execution_id"], row["leg"]): row["link_asks"] for row in bench.sandbox.requests()["recordings"]}
    archive_all(bench, "feather")
    archive_all(bench, "feather", Selection(execution_ids=frozenset(name for name, _ in archived)))
    after = {(row["execution_id"], row["leg"]): row["link_asks"] for row in bench.sandbox.requests()["recordings"]}
    assert {name: after[name] for name in archived} == {name: before[name] for name in archived}


def test_not_ready_is_a_state_that_heals(bench: Bench) -> None:
    """A 409, a 503 and a fresh 404 wait for their time, and are archived when it comes."""
    for provider in PROVIDERS:
        row = row_of(bench, provider, "not-ready-asks")
        name = (row["execution_id"], row["leg"])
        bench.discover(provider)
        seen = []
        for _ in range(4):
            archive_all(bench, provider)
            seen.append(bench.states(provider)[name])
            bench.clock.offset += 3600
        assert seen[0] == "not_ready"
        assert seen[-1] == "archived"


def test_a_second_look_before_its_time_asks_nothing(bench: Bench) -> None:
    """What is not ready is left alone until its next attempt is due."""
    bench.discover("kataven")
    archive_all(bench, "kataven")
    asked = sum(row["link_asks"] for row in bench.sandbox.requests()["recordings"])
    assert archive_all(bench, "kataven")[0].due == 0
    assert sum(row["link_asks"] for row in bench.sandbox.requests()["recordings"]) == asked


def test_a_wrong_key_that_stays_writes_little(bench: Bench) -> None:
    """Each look at a fault that is still there writes of what it asked, and not of everything that waits behind it."""
    bench.discover("asteroid")
    bench.sandbox.set_fault("wrong-keys")
    archive_all(bench, "asteroid")
    before = bench.ledger.events_table("asteroid").num_rows
    bench.clock.offset += bench.archive.settings.blocked_recheck_seconds
    reports = archive_all(bench, "asteroid")
    assert sum(report.states[State.BLOCKED] for report in reports) == len(bench.states("asteroid"))
    written = bench.ledger.events_table("asteroid").num_rows - before
    assert 1 <= written <= sum(report.links for report in reports)
    bench.sandbox.clear_faults()
    bench.clock.offset += bench.archive.settings.blocked_recheck_seconds
    archive_all(bench, "asteroid")
    assert "blocked" not in bench.states("asteroid").values()


def test_a_wrong_key_blocks_without_a_storm(bench: Bench) -> None:
    """After the first 401 the rest of the provider is not asked, nothing is spent, and the message names the key."""
    bench.discover("asteroid")
    bench.sandbox.set_fault("wrong-keys")
    reports = archive_all(bench, "asteroid")
    assert set(bench.states("asteroid").values()) == {"blocked"}
    asked = sum(report.links for report in reports)
    assert asked <= len(reports) * bench.archive.settings.media_concurrency
    assert "ASTEROID_API_KEY" in reports[0].worst[0].detail
    events = bench.ledger.read_open("asteroid").values()
    assert {event.life.attempts for event in events} == {0}
    bench.sandbox.set_fault("wrong-keys", value=False)
    bench.clock.offset += 1000
    archive_all(bench, "asteroid")
    assert Counter(bench.states("asteroid").values())["archived"] > 5


def test_a_range_run_is_stopped_as_a_whole(bench: Bench) -> None:
    """A run over several days does not ask again on the next day once the key was refused."""
    bench.discover("feather")
    bench.sandbox.set_fault("wrong-keys")
    memory = RunMemory()
    days = bench.days("feather")
    links = [archive_day(bench.archive, "feather", day, "run-1", memory=memory).links for day in days]
    assert links[0] <= bench.archive.settings.media_concurrency
    assert links[1:] == [0] * (len(days) - 1)
    assert set(bench.states("feather").values()) == {"blocked"}


def test_a_wrong_kataven_base_is_not_taken_for_absence(bench: Bench) -> None:
    """When every answer is a 404 the sessions are blocked, not absent; once the base answers, the absent ones are believed."""
    bench.clock.offset += 3 * 86400
    bench.discover("kataven")
    bench.clock.offset += 3 * 86400
    bench.sandbox.set_fault("kataven-wrong-base")
    reports = archive_all(bench, "kataven")
    assert set(bench.states("kataven").values()) == {"blocked"}
    assert "KATAVEN_BASE_URL" in reports[0].worst[0].detail
    bench.sandbox.set_fault("kataven-wrong-base", value=False)
    bench.clock.offset += 1000
    for _ in range(2):
        archive_all(bench, "kataven")
        bench.clock.offset += 1000
    absent = [row for row in bench.truth("kataven") if row["scenario"] == "absent"]
    assert absent
    assert {bench.states("kataven")[(row["execution_id"], row["leg"])] for row in absent} == {"absent"}


@pytest.mark.parametrize("fault", ["media-html", "media-gzip", "media-no-length"])
def test_what_cannot_be_proven_a_recording_is_never_stored(bench: Bench, fault: str) -> None:
    """A body that is no recording leaves no object; its neighbours' state and a later good answer are not harmed."""
    bench.discover("feather")
    bench.sandbox.set_fault(fault)
    archive_all(bench, "feather")
    assert list(bench.archive.storage.list("recordings")) == []
    assert "archived" not in bench.states("feather").values()
    bench.sandbox.set_fault(fault, value=False)
    bench.clock.offset += 3600
    archive_all(bench, "feather")
    assert Counter(bench.states("feather").values())["archived"] > 5


def test_a_transfer_that_always_breaks_leaves_nothing(bench: Bench) -> None:
    """Bodies that end too early are tried again a few times, then left for later; nothing partial is visible."""
    bench.discover("asteroid")
    bench.sandbox.set_fault("media-truncate")
    archive_all(bench, "asteroid")
    assert list(bench.archive.storage.list("recordings")) == []
    worst = bench.ledger.read_open("asteroid").values()
    assert Outcome.TRANSIENT in {event.outcome for event in worst}


def test_a_media_address_that_the_settings_forbid_is_refused(bench: Bench) -> None:
    """A link to a private address is refused with the name of the setting, and the recording is not lost."""
    bench.discover("feather")
    bench.archive.settings = bench.archive.settings.model_copy(update={"media_allow_private": False})
    reports = archive_all(bench, "feather")
    faults = [fault for report in reports for fault in report.faults if fault.outcome is Outcome.REFUSED]
    assert faults
    assert "MEDIA_ALLOW_PRIVATE" in faults[0].detail
    assert media_gets(bench) == 0
    assert {event.life.attempts for event in bench.ledger.read_open("feather").values() if event.outcome is Outcome.REFUSED} == {
        0
    }


@pytest.mark.parametrize("with_sidecar", [True, False])
def test_a_recording_without_an_event_is_adopted(bench: Bench, *, with_sidecar: bool) -> None:
    """Killed between publication and event: the next run writes down the facts and fetches nothing."""
    bench.discover("kataven")
    bench.ledger.fold("kataven")
    archive_all(bench, "kataven")
    events = {key: event for day in bench.days("kataven") for key, event in bench.ledger.read_day("kataven", day).items()}
    archived = {key: event for key, event in events.items() if event.copy is not None}
    for info in [*bench.archive.storage.list(names.TAIL), *bench.archive.storage.list(names.MANIFESTS)]:
        if "-run-1" in info.path or info.path.endswith(names.MANIFEST_NAME):
            bench.archive.storage.delete(info.path)
    if not with_sidecar:
        for key, event in archived.items():
            bench.archive.storage.delete(names.sidecar_path("kataven", event.day, key.execution_id, key.leg))
    gets = media_gets(bench)
    archive_all(bench, "kataven")
    assert media_gets(bench) == gets
    for key, event in archived.items():
        again = bench.ledger.read_day("kataven", event.day)[key]
        assert again.outcome is Outcome.ADOPTED
        assert again.copy is not None
        assert event.copy is not None
        assert (again.copy.path, again.copy.sha256) == (event.copy.path, event.copy.sha256)
    assert not [v for day in bench.days("kataven") for v in verify_day(bench.ledger, "kataven", day) if v.fault]


def test_a_dry_run_asks_and_writes_nothing(bench: Bench) -> None:
    """A dry run tells what is due; neither the provider nor the archive notices."""
    bench.discover("feather")
    before = [info.path for info in bench.archive.storage.list()]
    reports = archive_all(bench, "feather", Selection(dry_run=True, retry_failed=True))
    assert sum(report.due for report in reports) == len(bench.truth("feather"))
    assert [info.path for info in bench.archive.storage.list()] == before
    assert bench.sandbox.requests()["recordings"] == [] or not any(
        row["link_asks"] for row in bench.sandbox.requests()["recordings"]
    )


def test_only_these_ids(bench: Bench) -> None:
    """A selection takes up the named executions and leaves the others."""
    bench.discover("feather")
    row = row_of(bench, "feather")
    archive_all(bench, "feather", Selection(execution_ids=frozenset({row["execution_id"]})))
    states = Counter(bench.states("feather").values())
    assert states["archived"] == sum(item["execution_id"] == row["execution_id"] for item in bench.truth("feather"))


def test_dead_letters_come_back_by_hand(bench: Bench) -> None:
    """``retry_failed`` takes up what has failed; without it a dead letter stays one."""
    bench.discover("feather")
    bench.archive.settings = bench.archive.settings.model_copy(update={"retry_attempt_limit": 1, "transient_retries": 0})
    bench.sandbox.set_fault("everything-500")
    reports = archive_all(bench, "feather")
    assert set(bench.states("feather").values()) == {"failed"}
    assert sum(report.went_wrong for report in reports) == len(bench.truth("feather"))
    bench.sandbox.set_fault("everything-500", value=False)
    archive_all(bench, "feather")
    assert set(bench.states("feather").values()) == {"failed"}
    archive_all(bench, "feather", Selection(retry_failed=True))
    assert Counter(bench.states("feather").values())["archived"] > 5


def test_a_root_that_fails_stops_the_run_and_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the root goes on refusing recordings the run fails clearly, and the next one archives them."""
    bench.discover("feather")
    day = bench.days("feather")[0]

    def refuse(*_: object) -> int:
        msg = "no space left on device: free some, or set ARCHIVE_ROOT elsewhere"
        raise StorageError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(type(bench.archive.storage), "create_from", refuse)
        with pytest.raises(StorageError, match="no space left"):
            archive_day(bench.archive, "feather", day, "run-1")
    bench.clock.offset += 3600
    archive_day(bench.archive, "feather", day, "run-2")
    assert "archived" in bench.states("feather").values()


def test_an_object_that_the_root_refuses_does_not_stop_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One recording that cannot be stored is left for later, with a pause and without an attempt; the others are archived."""
    bench.discover("feather")
    row = row_of(bench, "feather")
    good = type(bench.archive.storage).create_from

    def refuse_one(storage: ArchiveStorage, path: str, chunks: Iterator[bytes]) -> int:
        if row["execution_id"] in path and f"/{row['leg']}." in path:
            msg = "SlowDown"
            raise StorageError(msg)
        return good(storage, path, chunks)

    monkeypatch.setattr(type(bench.archive.storage), "create_from", refuse_one)
    archive_all(bench, "feather")
    assert Counter(bench.states("feather").values())["archived"] > 5
    key = RecordingKey("feather", row["execution_id"], Leg(row["leg"]))
    event = bench.ledger.read_open("feather")[key]
    assert (event.outcome, event.life.attempts, event.life.state) == (Outcome.STORAGE_FAULT, 0, State.PENDING)


def test_one_recording_that_the_key_may_not_see_stops_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single 403 blocks its recording alone; a row of them is about the key."""
    bench.discover("feather")
    row = row_of(bench, "feather")
    provider = bench.archive.provider("feather")
    good = provider.link

    def refuse_one(execution_id: str, leg: Leg) -> Link:
        if execution_id == row["execution_id"]:
            raise BlockedError(Subject("feather", execution_id), "403 Forbidden", http_status=403)
        return good(execution_id, leg)

    monkeypatch.setattr(provider, "link", refuse_one)
    archive_all(bench, "feather")
    states = bench.states("feather")
    assert states[(row["execution_id"], row["leg"])] == "blocked"
    assert Counter(states.values())["archived"] > 5


def test_a_published_recording_is_adopted_whatever_the_ledger_says(bench: Bench) -> None:
    """Killed before its event, then purged by the platform: the copy is in the archive, so the ledger says archived."""
    bench.discover("feather")
    archive_all(bench, "feather")
    for info in [*bench.archive.storage.list(names.TAIL), *bench.archive.storage.list(names.MANIFESTS)]:
        if "-run-1" in info.path or info.path.endswith(names.MANIFEST_NAME):
            bench.archive.storage.delete(info.path)
    bench.discover("feather", purged_at=bench.clock.now())
    assert set(bench.states("feather").values()) == {"purged"}
    archive_all(bench, "feather")
    assert Counter(bench.states("feather").values())["archived"] > 5


def test_a_provider_without_a_key_is_off(bench: Bench) -> None:
    """Asking for a provider that is off names the setting."""
    bench.archive.settings = bench.archive.settings.model_copy(update={"feather_api_key": None})
    with pytest.raises(SettingsError, match="FEATHER_API_KEY is not set"):
        archive_day(bench.archive, "feather", bench.days("feather")[0], "run-1")


def test_two_runs_on_one_partition_store_each_recording_once(bench: Bench) -> None:
    """A command beside a Dagster run: both end well, and no recording is there twice."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    bench.discover("asteroid")
    day = bench.days("asteroid")[0]
    twin = replace(bench.archive, _providers={}, _media=None)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(archive_day, archive, "asteroid", day, "run") for archive in (bench.archive, twin)]
        for run in runs:
            run.result()
    twin.close()
    media = [info.path for info in bench.archive.storage.list("recordings") if not info.path.endswith(".json")]
    stems = [path.rpartition(".")[0] for path in media]
    assert len(stems) == len(set(stems))
    assert not [verdict for verdict in verify_day(bench.ledger, "asteroid", day) if verdict.fault]
