"""What runs and ticks cost when nothing is new, and when ten thousand recordings are due: with Dagster, as the daemon does it."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg

from assets.executions.reads import note_reads
from assets.recordings.ledger import Ledger
from assets.recordings.queue import DayRange
from benchmarks.lake.copies import linked
from benchmarks.lake.questions import new_event
from benchmarks.lake.report import Line, interleaved, milliseconds, timed
from benchmarks.world.plan import LAST_DAY, NOW
from pipelines.assembly import build_definitions
from pipelines.execution import JobResult, Launcher
from pipelines.in_flight import range_of_tags
from pipelines.schedules import schedule_name
from pipelines.sensors import retry_sensor_name
from resources.archive import Archive
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import Runtime
from resources.providers.registry import PROVIDERS
from resources.settings import Settings, load_settings
from resources.storage import open_storage
from sandbox.options import WorldOptions
from sandbox.server import running_sandbox

PROVIDER = "asteroid"
DUE, DUE_PARTITIONS = 10_000, 300
_OPEN_DAYS = 4
_ANCHOR = datetime.combine(LAST_DAY + timedelta(days=_OPEN_DAYS + 1), NOW.timetz())
"""When the open days end, all of them after the made-up past, so that they are the same with it and without it."""
_FIRST = LAST_DAY - timedelta(days=1000)
"""The first day of the archives, before that of any made-up past."""
_IDLE, _SENSOR = "nothing new", "sensor"
_RATIO = 1.2


def _standing(settings: Settings, now: datetime) -> ArchiveResource:
    """Return the archive of these settings, with a clock that stands still at ``now``."""

    class Standing(ArchiveResource):  # what it holds is not in its fields: Dagster copies those alone
        @contextmanager
        def opened(self) -> Generator[Archive]:
            runtime = Runtime(now=lambda: now, monotonic=time.monotonic, sleep=time.sleep)
            archive = Archive(settings, open_storage(settings.archive_root), runtime)
            try:
                yield archive
            finally:
                archive.close()

    return Standing()


@dataclass(slots=True)
class _Desk:
    """An archive with its Dagster home, at one moment."""

    launcher: Launcher
    repository: dg.RepositoryDefinition
    resource: ArchiveResource

    def run(self, span: DayRange) -> JobResult:
        """Read the days of ``span`` and archive what is due."""
        result = self.launcher.archive(PROVIDER, span)
        if result.failures:
            msg = f"a run failed: {result.failures[0]}"
            raise RuntimeError(msg)
        return result

    def tick(self, provider: str) -> list[dg.RunRequest]:
        """Evaluate the retry sensor of a provider."""
        name = retry_sensor_name(provider)
        given = {"archive": self.resource}
        with dg.build_sensor_context(self.launcher.instance, repository_def=self.repository, resources=given) as context:
            return list(self.repository.get_sensor_def(name).evaluate_tick(context).run_requests or [])

    def schedule(self) -> list[dg.RunRequest]:
        """Evaluate the schedule."""
        given = {"archive": self.resource}
        with dg.build_schedule_context(
            self.launcher.instance, _ANCHOR, repository_def=self.repository, resources=given
        ) as context:
            found = self.repository.get_schedule_def(schedule_name(PROVIDER)).evaluate_tick(context)
        return list(found.run_requests or [])


def nothing_new(root: Path, scratch: Path, rounds: int) -> list[Line]:
    """Compare idle runs and ticks of an archive with ten million executions with those of one that has only the open days."""
    options = WorldOptions(days=_OPEN_DAYS, recordings=60, megabytes=1, calm=True, anchor=_ANCHOR)
    with ExitStack() as stack:
        sandbox = stack.enter_context(running_sandbox(options, clock=lambda: _ANCHOR))
        environment = {name.lower(): value for name, value in sandbox.env.items()}
        full = stack.enter_context(linked(root, scratch / "history"))
        folders = {"history": full, "empty": scratch / "empty"}
        desks = {name: stack.enter_context(_desk(folder, environment, _ANCHOR)) for name, folder in folders.items()}
        span = DayRange(LAST_DAY + timedelta(days=2), _ANCHOR.date())
        for name, desk in desks.items():
            desk.run(span)
            storage = open_storage(str(folders[name]))
            Ledger(storage).fold(PROVIDER)
            note_reads(storage, PROVIDER, DayRange(_FIRST, _ANCHOR.date()).days, _ANCHOR)
        runs = interleaved(rounds, {name: lambda desk=desk: desk.run(span) for name, desk in desks.items()})
        # At a moment when none of the open recordings is due yet; days later all of them are.
        early = {name: stack.enter_context(_desk(folder, environment, NOW)) for name, folder in folders.items()}
        ticks = interleaved(rounds * 4, {name: lambda desk=desk: desk.tick(PROVIDER) for name, desk in early.items()})
        busy = interleaved(rounds * 2, {"history": lambda: desks["history"].tick(PROVIDER)})
        asked = [len(desk.tick(PROVIDER)) for desk in (early["history"], desks["history"])]
        schedules = interleaved(rounds * 2, {name: desk.schedule for name, desk in desks.items()})
    return [
        *_compared("idle scheduled run", runs),
        *_compared("sensor tick", ticks),
        Line(_IDLE, "runs that those ticks asked for", asked[0], "", 0.0),
        Line(_IDLE, "sensor tick, full history, when all open recordings are due", milliseconds(busy["history"]), "ms"),
        *_compared("schedule tick", schedules),
    ]


def _compared(what: str, seconds: dict[str, list[float]]) -> list[Line]:
    history, empty = (milliseconds(seconds[name]) for name in ("history", "empty"))
    return [
        Line(_IDLE, f"{what}, empty history", empty, "ms"),
        Line(_IDLE, f"{what}, full history", history, "ms"),
        Line(_IDLE, f"{what}, full history over an empty one", history / empty, "", _RATIO, note="ratio of the medians"),
    ]


def many_due(root: Path, scratch: Path, rounds: int) -> list[Line]:
    """Evaluate the sensors of all providers while ten thousand recordings are due in three hundred partitions."""
    with linked(root, scratch / "due") as folder:
        partitions = _make_due(folder)
        environment = {f"{name}_api_key": f"a-key-of-{name}" for name in PROVIDERS}
        environment |= {"kataven_sessions": str(scratch), "kataven_account_id": "bench", "asteroid_organization_id": "bench"}
        with _desk(folder, environment, NOW) as desk:
            seconds = [timed(lambda: [desk.tick(name) for name in PROVIDERS]) for _ in range(rounds + 1)][1:]
            asked = {name: [range_of_tags(_tags(request)) for request in desk.tick(name)] for name in PROVIDERS}
    spans = [(name, span) for name, found in asked.items() for span in found if span is not None]
    false = sum((name, day) not in partitions for name, span in spans for day in span.days)
    runs = Counter(name for name, _ in spans)
    what, each = f"{DUE:,} due in {DUE_PARTITIONS} partitions", ", ".join(f"{name} {runs[name]}" for name in PROVIDERS)
    return [
        Line(_SENSOR, f"{what}: one evaluation of all sensors", statistics.median(seconds), "s", 1.0),
        Line(_SENSOR, "runs asked for", sum(runs.values()), "", 30.0, note=each),
        Line(_SENSOR, "partitions in them with nothing due", false, "", 0.0),
        Line(_SENSOR, "partitions in them", sum(len(span.days) for _, span in spans), ""),
    ]


def _make_due(folder: Path) -> set[tuple[str, date]]:
    """Make recordings due in every seventh day, back from the last one, and fold; return the partitions."""
    ledger, names = Ledger(open_storage(str(folder))), list(PROVIDERS)
    found: list[tuple[str, date]] = []
    for number in range(DUE_PARTITIONS):
        name, place = names[number % len(names)], number // len(names)
        found.append((name, LAST_DAY - timedelta(days=place + 2 * (place // 5))))
    for place, (name, day) in enumerate(found):
        size = DUE // len(found) + (place < DUE % len(found))
        ledger.append([new_event(name, day) for _ in range(size)], NOW)
    for name in names:
        ledger.fold(name)
    return set(found)


@contextmanager
def _desk(folder: Path, environment: dict[str, str], now: datetime) -> Generator[_Desk]:
    chosen = {"archive_root": str(folder), "archive_start_date": _FIRST.isoformat(), "archive_sensor_max_runs": 10}
    settings = load_settings(None, **(environment | chosen))
    with tempfile.TemporaryDirectory(prefix="bench-home-") as home, dg.DagsterInstance.local_temp(home) as instance:
        resource = _standing(settings, now)
        definitions = build_definitions(settings, resource)
        yield _Desk(Launcher(definitions, instance, resource), definitions.get_repository_def(), resource)


def _tags(request: dg.RunRequest) -> dict[str, str]:
    tags = dict(request.tags)
    if request.partition_key is not None:
        tags["dagster/partition"] = request.partition_key
    return tags
