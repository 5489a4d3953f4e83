"""The compaction in Dagster: a scheduled run, its numbers, and a check that names what is not the archive's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from assets.catalog.compaction_asset import COMPACTION_KEY, NOTHING_STRANGE
from assets.recordings import names
from assets.recordings.ledger import Ledger
from pipelines.assembly import build_definitions
from pipelines.execution import Launcher
from pipelines.instance import HOME_VARIABLE, dagster_home, open_instance
from pipelines.jobs import COMPACTION_JOB
from pipelines.schedules import COMPACTION_SCHEDULE
from resources.dagster_archive import ArchiveResource
from resources.settings import load_settings
from resources.storage import ArchiveStorage, open_storage
from tests.dagster.dev import write_env_file
from tests.fixity.heap import settings_of
from tests.recordings.test_ledger import DAY, NOW, event

TICK = datetime(2026, 11, 20, 12, 50, tzinfo=UTC)


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """Return an archive with a dozen event files of one day."""
    made = open_storage(str(tmp_path / "archive"))
    ledger = Ledger(made)
    for number in range(12):
        ledger.append([event(f"r{number}")], NOW)
    return made


@pytest.fixture
def launcher(storage: ArchiveStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """Return what runs jobs on it, without a grace period."""
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    root = storage.local_path()
    assert root is not None
    settings = settings_of(root, ARCHIVE_GRACE_HOURS="0")
    resource = ArchiveResource(env_file=write_env_file(tmp_path / "settings.env", settings))
    with open_instance(dagster_home(tmp_path / "home")) as instance:
        yield Launcher(build_definitions(load_settings(None), resource), instance, resource)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)


def appended(storage: ArchiveStorage) -> list[str]:
    """Return the event files of the tail's folder."""
    return [info.path for info in storage.list(names.tail_folder("feather")) if "_" in info.path.rpartition("/")[2]]


def test_twelve_files_become_one_and_go_once_the_catalog_shows_it(launcher: Launcher, storage: ArchiveStorage) -> None:
    """The metadata say files before and after, rows and seconds; what the published catalog names goes after the next one."""
    launcher.publish()
    launcher.compact()
    (record,) = launcher.instance.fetch_materializations(COMPACTION_KEY, limit=1).records
    assert record.asset_materialization is not None
    told = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    assert (told["feather/rows"], told["rows"], told["feather/files_before"]) == (12, 12, 13)
    assert told["seconds"] > 0
    assert len(appended(storage)) == 12
    launcher.publish()
    done = launcher.compact()
    assert appended(storage) == []
    assert done.metadata["files_after"] == 2
    assert done.failures == done.failed_checks == ()
    assert len(Ledger(storage).read_open("feather")) == 12


def test_a_strange_file_is_named_by_the_check(launcher: Launcher, storage: ArchiveStorage) -> None:
    """A copy of an event file is no event file of the archive's: it stays, and the check warns of it."""
    path = appended(storage)[0]
    storage.create(f"{names.tail_folder('feather')}/{DAY}_copied.parquet", storage.read(path))
    done = launcher.compact()
    assert done.failures == ()
    (words,) = done.failed_checks
    assert "_copied.parquet" in words
    key = dg.AssetCheckKey(COMPACTION_KEY, NOTHING_STRANGE)
    (record,) = launcher.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    assert record.event is not None


def test_the_schedule_asks_for_one_compaction_at_a_time(launcher: Launcher) -> None:
    """Nothing is asked for while one is under way."""
    repository = launcher.definitions.get_repository_def()

    def tick() -> dg.RunRequest | str | None:
        with dg.build_schedule_context(launcher.instance, TICK, repository_def=repository) as context:
            data = repository.get_schedule_def(COMPACTION_SCHEDULE).evaluate_tick(context)
        return data.skip_message or (data.run_requests or [None])[0]

    asked = tick()
    assert isinstance(asked, dg.RunRequest)
    launcher.instance.add_run(dg.DagsterRun(job_name=COMPACTION_JOB, status=dg.DagsterRunStatus.STARTED))
    assert tick() == "a compaction is under way"
