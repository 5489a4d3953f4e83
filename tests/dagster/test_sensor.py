"""What sensors and schedules ask for: the ledger decides, and no provider is ever asked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from assets.executions.reads import note_reads
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Life, Outcome, State
from pipelines import sensors
from pipelines.assembly import build_definitions
from pipelines.in_flight import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG, range_of_tags
from pipelines.instance import HOME_VARIABLE, dagster_home, open_instance
from pipelines.jobs import CATALOG_JOB
from pipelines.sensors import CATALOG_SENSOR, MARK_TAG
from resources import dagster_archive
from resources.archive import Archive, open_archive
from resources.clock import utc_now
from resources.dagster_archive import ArchiveResource
from resources.model import Leg, RecordingKey
from resources.settings import Settings, load_settings
from resources.storage import open_storage
from tests.conftest import TestRuntime
from tests.dagster.dev import write_env_file

INTERVAL = 60
TODAY = utc_now().date()
EXECUTIONS, RECORDINGS = dg.AssetKey(["feather", "executions"]), dg.AssetKey(["feather", "recordings"])
Running = Callable[[date, date], dg.DagsterRun]


def ago(days: int) -> date:
    """Return the UTC day so many days before today."""
    return TODAY - timedelta(days=days)


@dataclass
class Desk:
    """What the daemon sits at: a ledger, an instance, and the clock that both are read by."""

    ledger: Ledger
    instance: dg.DagsterInstance
    resource: ArchiveResource
    clock: TestRuntime
    repository: dg.RepositoryDefinition
    _names: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def know(self, day: date, *, wait: timedelta | None = timedelta(), state: State = State.PENDING) -> None:
        """Tell the ledger of one more recording of ``day``: due after ``wait``, or never (None) as its execution still runs."""
        now = self.clock.now()
        life = Life(state=state, next_attempt_at=None if wait is None else now + wait, eligible_since=now)
        key = RecordingKey("feather", f"call-{next(self._names)}", Leg.MAIN)
        self.ledger.append([Event(key, day, uuid4().hex, 1, now, "run", Outcome.DISCOVERED, life)], now)

    def sense(self, name: str = "feather_retry_sensor") -> tuple[list[dg.RunRequest], str | None]:
        """Evaluate a sensor; return what it asks for, and why it skips."""
        given = {"archive": self.resource}
        with dg.build_sensor_context(self.instance, repository_def=self.repository, resources=given) as context:
            data = self.repository.get_sensor_def(name).evaluate_tick(context)
        return list(data.run_requests or []), data.skip_message

    def tick(self, hour: int) -> list[str]:
        """Evaluate Feather's schedule today at ``hour``:15; return the days of each request."""
        moment = datetime.combine(TODAY, time(hour, 15), UTC)
        given = {"archive": self.resource}
        with dg.build_schedule_context(self.instance, moment, repository_def=self.repository, resources=given) as context:
            data = self.repository.get_schedule_def("feather_hourly").evaluate_tick(context)
        return spans(list(data.run_requests or []))


def spans(requests: list[dg.RunRequest]) -> list[str]:
    """Return the days of each request, as Dagster will see them, in order."""
    return sorted(str(range_of_tags(request.tags)) for request in requests)


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    """Return the definitions of an archive that begins three weeks ago."""
    start = ago(20).isoformat()
    settings = load_settings(None, archive_start_date=start, archive_sensor_interval_seconds=INTERVAL)
    return build_definitions(settings).get_repository_def()


@pytest.fixture
def desk(
    tmp_path: Path, clock: TestRuntime, repository: dg.RepositoryDefinition, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """Return a desk with an empty ledger, from which nobody can telephone."""

    def refuse(*_: object) -> None:
        pytest.fail("a sensor or a schedule opened a connection")

    def opened(settings: Settings) -> Archive:
        return open_archive(settings, clock.runtime())

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(dagster_archive, "open_archive", opened)
    monkeypatch.setattr(sensors, "REAL_RUNTIME", clock.runtime())
    nowhere = "http://127.0.0.1:9"
    settings = {
        "FEATHER_API_KEY": "a-key",
        "FEATHER_BASE_URL": nowhere,
        "ARCHIVE_ROOT": str(tmp_path / "archive"),
        "ARCHIVE_START_DATE": ago(20).isoformat(),
        "ARCHIVE_SENSOR_MAX_RUNS": "4",
    }
    resource = ArchiveResource(env_file=write_env_file(tmp_path / "settings.env", settings))
    ledger = Ledger(open_storage(settings["ARCHIVE_ROOT"]))
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    with open_instance(dagster_home()) as instance:
        yield Desk(ledger, instance, resource, clock, repository)


def run_of(
    job: str,
    tags: dict[str, str],
    selection: set[dg.AssetKey] | None = None,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
) -> dg.DagsterRun:
    """Return a run as Dagster records it."""
    chosen = None if selection is None else frozenset(selection)
    return dg.DagsterRun(job_name=job, run_id=str(uuid4()), tags=tags, status=status, asset_selection=chosen)


def key_tags(day: date) -> dict[str, str]:
    """Return the tags of a run of one partition."""
    return {PARTITION_TAG: day.isoformat()}


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags of a run of a range of partitions."""
    return {RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: last.isoformat()}


def test_due_days_are_grouped_into_neighbouring_ranges(desk: Desk) -> None:
    """Neighbouring due days are one run, a lone day is a partition, and no day between them is asked for."""
    for day in (3, 4, 5, 8):
        desk.know(ago(day), wait=-timedelta(hours=1))
    desk.know(ago(6), wait=timedelta(hours=1))
    desk.know(ago(7), state=State.ARCHIVED)
    requests, _ = desk.sense()
    assert spans(requests) == [ago(8).isoformat(), f"{ago(5)}..{ago(3)}"]
    assert [request.partition_key for request in requests if request.partition_key] == [ago(8).isoformat()]


def test_one_evaluation_asks_for_a_bounded_number_of_runs(desk: Desk) -> None:
    """At most ARCHIVE_SENSOR_MAX_RUNS ranges are launched at once, and the newest is among them."""
    for day in range(1, 20, 2):
        desk.know(ago(day))
    requests, _ = desk.sense()
    assert len(requests) == 4
    assert ago(1).isoformat() in spans(requests)


IN_FLIGHT: dict[str, tuple[Running, list[str]]] = {
    "the archive job": (lambda first, _: run_of("feather_archive", key_tags(first)), ["4", "2"]),
    "the retry job": (lambda first, _: run_of("feather_retry", key_tags(first), status=dg.DagsterRunStatus.STARTING), ["4", "2"]),
    "a range": (lambda first, last: run_of("feather_archive", range_tags(first, last)), ["4"]),
    "an asset by hand": (lambda first, _: run_of("__ASSET_JOB", key_tags(first), {RECORDINGS}), ["4", "2"]),
    "a backfill": (
        lambda first, last: run_of(
            "__ASSET_JOB", {**range_tags(first, last), "dagster/backfill": "abcdefgh"}, {EXECUTIONS, RECORDINGS}
        ),
        ["4"],
    ),
}


@pytest.mark.parametrize("name", IN_FLIGHT)
def test_partitions_in_flight_are_left_out(desk: Desk, name: str) -> None:
    """However a run was launched, its days are not asked for again while it has not ended; the others are."""
    run, expected = IN_FLIGHT[name]
    for day in (4, 3, 2):
        desk.know(ago(day))
    desk.instance.add_run(run(ago(3), ago(2)))
    requests, _ = desk.sense()
    assert spans(requests) == [ago(int(day)).isoformat() for day in expected]


@pytest.mark.parametrize(
    "run",
    [
        run_of("asteroid_archive", key_tags(ago(3))),
        run_of("__ASSET_JOB", key_tags(ago(3)), {EXECUTIONS}),
        run_of("feather_retry", key_tags(ago(3)), status=dg.DagsterRunStatus.FAILURE),
        run_of("feather_retry", key_tags(ago(3)), status=dg.DagsterRunStatus.SUCCESS),
        run_of(CATALOG_JOB, {}),
    ],
    ids=["another provider", "executions only", "failed", "ended", "the catalog"],
)
def test_other_runs_keep_nothing_back(desk: Desk, run: dg.DagsterRun) -> None:
    """A run that does not work on these recordings, or has ended, is no reason to wait."""
    desk.know(ago(3))
    desk.instance.add_run(run)
    assert spans(desk.sense()[0]) == [ago(3).isoformat()]


def test_a_partition_comes_back_when_its_run_died(desk: Desk) -> None:
    """Within a bucket the run key is the same, so nothing is launched twice; in the next one Dagster has not seen it yet."""
    desk.know(ago(3))
    desk.clock.offset += INTERVAL - desk.clock.now().timestamp() % INTERVAL
    ((first,), _), ((again,), _) = desk.sense(), desk.sense()
    assert first.run_key == again.run_key
    desk.instance.add_run(run_of("feather_retry", key_tags(ago(3)), status=dg.DagsterRunStatus.FAILURE))
    desk.clock.offset += INTERVAL
    ((later,), _) = desk.sense()
    assert later.partition_key == first.partition_key
    assert later.run_key != first.run_key


def test_a_skip_says_how_many_wait_and_until_when(desk: Desk) -> None:
    """The reason counts what waits, names the next moment (UTC), and tells what waits for its execution."""
    assert desk.sense() == ([], "no recording is open")
    soon = desk.clock.now() + timedelta(hours=1)
    for hours in (1, 2, 3):
        desk.know(ago(3), wait=timedelta(hours=hours), state=State.NOT_READY)
    desk.know(ago(0), wait=None)
    requests, reason = desk.sense()
    assert requests == []
    assert reason is not None
    assert f"3 waiting, the next at {soon:%Y-%m-%d %H:%M}" in reason
    assert reason.endswith("1 whose execution has not ended")


def test_a_skip_says_that_runs_are_on_it(desk: Desk) -> None:
    """When all that is due is being worked on, the reason says so."""
    desk.know(ago(3))
    desk.instance.add_run(run_of("feather_retry", key_tags(ago(3))))
    assert desk.sense() == ([], "1 due in partitions that 1 running partitions cover")


def test_days_before_the_first_partition_stop_nothing(desk: Desk) -> None:
    """Recordings of days that are no partitions (any more) are left out, rather than that the sensor fails."""
    desk.know(ago(30))
    desk.know(ago(21))
    desk.know(ago(20))
    assert spans(desk.sense()[0]) == [ago(20).isoformat()]


def test_the_schedule_reads_what_it_owes(desk: Desk) -> None:
    """A new archive reads all its days in one range; once they are read, a tick asks for the young ones."""
    assert desk.tick(10) == [f"{ago(20)}..{ago(0)}"]
    note_reads(desk.ledger.storage, "feather", [ago(n) for n in range(21) if n not in {15, 9}], desk.clock.now())
    assert desk.tick(10) == sorted([ago(15).isoformat(), ago(9).isoformat(), f"{ago(3)}..{ago(0)}"])


def test_the_schedule_leaves_days_alone_that_have_a_run(desk: Desk) -> None:
    """A tick does not queue a second run on days that one is on, however long that takes."""
    note_reads(desk.ledger.storage, "feather", [ago(n) for n in range(21)], desk.clock.now())
    desk.instance.add_run(run_of("feather_archive", range_tags(ago(3), ago(1))))
    assert desk.tick(10) == [ago(0).isoformat()]
    desk.instance.add_run(run_of("feather_archive", key_tags(ago(0))))
    assert desk.tick(11) == []


def test_the_schedule_reads_old_unfinished_days_once_a_day(desk: Desk) -> None:
    """Old days with executions that have not ended are read again a day after the last read; what waits is the sensor's."""
    note_reads(desk.ledger.storage, "feather", [ago(n) for n in range(21)], desk.clock.now() - timedelta(days=2))
    note_reads(desk.ledger.storage, "feather", [ago(n) for n in range(12)], desk.clock.now())
    desk.know(ago(9), wait=None)
    desk.know(ago(13), wait=None)
    desk.know(ago(14), wait=timedelta(hours=1), state=State.NOT_READY)
    desk.know(ago(15), state=State.ARCHIVED)
    assert desk.tick(desk.clock.now().hour) == sorted([ago(13).isoformat(), f"{ago(3)}..{ago(0)}"])


def test_the_catalog_is_asked_for_until_it_is_published(desk: Desk) -> None:
    """A publication that died is asked for again under another run key; one that ended well is not, until more is made."""
    assert desk.sense(CATALOG_SENSOR) == ([], "nothing was made since the last publication")
    desk.instance.report_runless_asset_event(dg.AssetMaterialization(RECORDINGS, partition=ago(3).isoformat()))
    ((first,), _) = desk.sense(CATALOG_SENSOR)
    died = run_of(CATALOG_JOB, dict(first.tags), status=dg.DagsterRunStatus.FAILURE)
    desk.instance.add_run(died)
    desk.clock.offset += INTERVAL
    ((second,), _) = desk.sense(CATALOG_SENSOR)
    assert second.tags[MARK_TAG] == first.tags[MARK_TAG]
    assert second.run_key != first.run_key
    published = run_of(CATALOG_JOB, dict(second.tags))
    desk.instance.add_run(published)
    assert desk.sense(CATALOG_SENSOR) == ([], "a publication is under way")
    desk.instance.report_run_failed(published)
    desk.instance.add_run(run_of(CATALOG_JOB, dict(second.tags), status=dg.DagsterRunStatus.SUCCESS))
    assert desk.sense(CATALOG_SENSOR) == ([], "nothing was made since the last publication")
    desk.instance.report_runless_asset_event(dg.AssetMaterialization(EXECUTIONS, partition=ago(3).isoformat()))
    ((more,), _) = desk.sense(CATALOG_SENSOR)
    assert more.tags[MARK_TAG] != first.tags[MARK_TAG]
