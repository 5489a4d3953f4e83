"""The audit in Dagster: a daily run, a check that fails while a copy is lost, a table of findings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from assets.recordings.audit.fixity_asset import EVERY_COPY_WHOLE
from pipelines.assembly import build_definitions
from pipelines.execution import Launcher
from pipelines.instance import HOME_VARIABLE, dagster_home, open_instance
from pipelines.jobs import fixity_job_name
from pipelines.schedules import fixity_schedule_name
from resources.dagster_archive import ArchiveResource
from resources.settings import load_settings
from tests.dagster.dev import write_env_file
from tests.fixity.heap import PROVIDER, StubProvider, archived, fill, flip, heap, media_host, names_of, place_of, settings_of

COUNT, DAYS = 12, 2
FIXITY = dg.AssetKey([PROVIDER, "fixity"])
TICK = datetime(2026, 11, 20, 3, 40, tzinfo=UTC)


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """Return what runs jobs on a small archive, of which two copies are damaged and one can be fetched again."""
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    root = tmp_path / "archive"
    with media_host() as origin, open_instance(dagster_home(tmp_path / "home")) as instance:
        provider = StubProvider(origin)
        with heap(root, provider) as archive:
            fill(archive, names_of(COUNT), DAYS)
            known = archived(archive, DAYS)
            flip(place_of(archive, known["call-000003"]))
            place_of(archive, known["call-000004"]).rename(tmp_path / "elsewhere.wav")
        settings = settings_of(root, FEATHER_BASE_URL=origin, FIXITY_CYCLE_DAYS="1", FIXITY_MAX_REPAIRS="1")
        resource = ArchiveResource(env_file=write_env_file(tmp_path / "settings.env", settings))
        yield Launcher(build_definitions(load_settings(None), resource), instance, resource)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)


def checks(instance: dg.DagsterInstance) -> list[tuple[bool, dg.AssetCheckSeverity]]:
    """Return what the check said, run by run."""
    key = dg.AssetCheckKey(FIXITY, EVERY_COPY_WHOLE)
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    said = [record.event.dagster_event.asset_check_evaluation_data for record in history if record.event]  # type: ignore[union-attr]
    return [(evaluation.passed, evaluation.severity) for evaluation in reversed(said)]


def test_damage_is_a_failed_check_until_it_is_mended_and_then_a_warning(launcher: Launcher) -> None:
    """Both bad copies are in the table; the check is an error while one is lost, a warning when all was mended, then passes."""
    first = launcher.audit(PROVIDER)
    assert first.failures == ()
    assert len(first.failed_checks) == 1
    assert "2 bad copies, 1 not mended" in first.failed_checks[0]
    (record,) = launcher.instance.fetch_materializations(FIXITY, limit=1).records
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    assert (metadata["copies"].value, metadata["faults"].value, metadata["not_mended"].value) == (COUNT, 2, 1)
    findings = metadata["findings"]
    assert isinstance(findings, dg.TableMetadataValue)
    table = findings.records
    assert sorted(row.data["recording"] for row in table) == ["feather/call-000003/main", "feather/call-000004/main"]
    assert [row.data["mended"] for row in table] == ["no", "yes"]
    launcher.audit(PROVIDER)
    launcher.audit(PROVIDER)
    error, warning = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    assert checks(launcher.instance) == [(False, error), (False, warning), (True, warning)]


def test_the_schedule_asks_for_one_audit_at_a_time(launcher: Launcher) -> None:
    """Nothing is asked for while an audit is under way, nor where nothing is archived; otherwise one run, also without a key."""
    repository = launcher.definitions.get_repository_def()

    def tick(provider: str) -> dg.RunRequest | str | None:
        resources = {"archive": launcher.archive_resource}
        with dg.build_schedule_context(launcher.instance, TICK, repository_def=repository, resources=resources) as context:
            data = repository.get_schedule_def(fixity_schedule_name(provider)).evaluate_tick(context)
        return data.skip_message or (data.run_requests or [None])[0]

    assert tick("kataven") == "kataven: nothing is archived yet"
    asked = tick(PROVIDER)
    assert isinstance(asked, dg.RunRequest)
    assert asked.run_key == "2026-11-20T03:40"
    job = fixity_job_name(PROVIDER)
    launcher.instance.add_run(dg.DagsterRun(job_name=job, status=dg.DagsterRunStatus.STARTED))
    assert tick(PROVIDER) == f"{PROVIDER}: an audit is under way"
