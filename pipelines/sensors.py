"""The sensors: come back for recordings that are due, and publish the catalog when something was made."""

import hashlib
import json
from collections.abc import Sequence
from datetime import date

import dagster as dg

from assets.catalog.compaction_asset import COMPACTION_KEY
from assets.recordings.ledger import Ledger
from assets.recordings.queue import Queue, fair_choice, queue_at, ranges_of
from assets.shell import clear_failures
from pipelines.in_flight import UNFINISHED, days_in_flight, end_dead_runs, request
from pipelines.jobs import CATALOG_JOB, retry_job_name
from resources.archive import is_on
from resources.clock import REAL_RUNTIME
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec
from resources.settings import Settings

CATALOG_SENSOR = "catalog_sensor"
MARK_TAG = "recording_archive/mark"
"""Names the materializations that a publication includes: it is needed again when they change, or when its run died."""


def retry_sensor_name(provider: str) -> str:
    """Return the name of a provider's retry sensor."""
    return f"{provider}_retry_sensor"


def build_sensors(specs: Sequence[ProviderSpec], settings: Settings) -> list[dg.SensorDefinition]:
    """Return the retry sensor of each provider, and the catalog's sensor."""
    running = dg.DefaultSensorStatus.RUNNING if settings.archive_automation == "running" else dg.DefaultSensorStatus.STOPPED
    retries = [_retry_sensor(spec, running, settings) for spec in specs]
    return [*retries, _catalog_sensor(specs, running, settings.archive_sensor_interval_seconds)]


def _retry_sensor(spec: ProviderSpec, running: dg.DefaultSensorStatus, settings: Settings) -> dg.SensorDefinition:
    interval = settings.archive_sensor_interval_seconds
    first = date.fromisoformat(settings.archive_start_date)

    @dg.sensor(
        name=retry_sensor_name(spec.name),
        job_name=retry_job_name(spec.name),
        minimum_interval_seconds=interval,
        default_status=running,
        description=f"Launches the {spec.title} partitions that have recordings due: not ready before, or never asked for.",
    )
    def retry(context: dg.SensorEvaluationContext, archive: ArchiveResource) -> dg.SkipReason | list[dg.RunRequest]:
        with clear_failures(), archive.opened() as opened:
            if not is_on(spec, opened.settings):
                return dg.SkipReason(f"{spec.name} is off: {spec.key_setting} is not set")
            now = opened.runtime.now()
            queue = queue_at(Ledger(opened.storage), spec.name, now, first)
            limit = opened.settings.archive_sensor_max_runs
        end_dead_runs(context.instance)
        busy = {day for span in days_in_flight(context.instance, spec.name) for day in span.days}
        free = [day for day in queue.due if day not in busy]
        if not free:
            return dg.SkipReason(reason_to_skip(queue, len(busy)))
        # Dagster remembers a run key for ever: the bucket lets a partition come back when its run died.
        bucket = int(now.timestamp()) // interval
        chosen = fair_choice(ranges_of(free), queue.due, limit)
        return [request(span, f"{spec.name}:{span}:{bucket}") for span in chosen]

    return retry


def reason_to_skip(queue: Queue, busy: int) -> str:
    """Say what the queue waits for."""
    parts: list[str] = []
    if queue.due:
        parts.append(f"{sum(queue.due.values())} due in partitions that {busy} running partitions cover")
    if queue.waiting and queue.next_at is not None:
        parts.append(f"{queue.waiting} waiting, the next at {queue.next_at:%Y-%m-%d %H:%M:%S} UTC")
    if queue.blocked:
        parts.append(f"{queue.blocked} of them blocked by a setting (see the asset check)")
    if queue.running:
        parts.append(f"{queue.running} whose execution has not ended")
    return "; ".join(parts) or "no recording is open"


def _catalog_sensor(specs: Sequence[ProviderSpec], running: dg.DefaultSensorStatus, interval: int) -> dg.SensorDefinition:
    keys = [dg.AssetKey([spec.name, kind]) for spec in specs for kind in ("executions", "recordings", "fixity")]
    keys.append(COMPACTION_KEY)

    @dg.sensor(
        name=CATALOG_SENSOR,
        job_name=CATALOG_JOB,
        minimum_interval_seconds=interval,
        default_status=running,
        description="Publishes archive.duckdb after something was read or archived.",
    )
    def publish_when_changed(context: dg.SensorEvaluationContext) -> dg.SkipReason | dg.RunRequest:
        instance = context.instance
        end_dead_runs(instance)
        latest = instance.get_latest_materialization_events(keys)
        seen = {key.to_user_string(): entry.timestamp for key, entry in latest.items() if entry is not None}
        mark = hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]
        published = dg.RunsFilter(job_name=CATALOG_JOB, statuses=[dg.DagsterRunStatus.SUCCESS], tags={MARK_TAG: mark})
        if not seen or instance.get_runs(filters=published, limit=1):
            return dg.SkipReason("nothing was made since the last publication")
        if instance.get_runs(filters=dg.RunsFilter(job_name=CATALOG_JOB, statuses=UNFINISHED), limit=1):
            return dg.SkipReason("a publication is under way")
        bucket = int(REAL_RUNTIME.now().timestamp()) // interval
        return dg.RunRequest(run_key=f"{mark}:{bucket}", tags={MARK_TAG: mark})

    return publish_when_changed
