"""The hourly schedules: read the open partitions of each provider again, and archive what is due in them."""

from collections.abc import Sequence
from datetime import UTC, date

import dagster as dg

from assets.executions.reads import last_reads
from assets.recordings.ledger import Ledger
from assets.recordings.queue import open_days, ranges_of
from assets.shell import clear_failures
from pipelines.in_flight import days_in_flight, end_dead_runs, request
from pipelines.jobs import archive_job_name
from resources.archive import is_on
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec
from resources.settings import Settings


def schedule_name(provider: str) -> str:
    """Return the name of a provider's schedule."""
    return f"{provider}_hourly"


def build_schedules(specs: Sequence[ProviderSpec], settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return one schedule for each provider."""
    return [_build(spec, settings) for spec in specs]


def _build(spec: ProviderSpec, settings: Settings) -> dg.ScheduleDefinition:
    running = dg.DefaultScheduleStatus.RUNNING if settings.archive_automation == "running" else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(
        name=schedule_name(spec.name),
        cron_schedule=settings.archive_schedule_cron,
        job_name=archive_job_name(spec.name),
        default_status=running,
        execution_timezone="UTC",
        description=f"Reads the {spec.title} days that are young, unread or unfinished, and archives what is due.",
    )
    def hourly(context: dg.ScheduleEvaluationContext, archive: ArchiveResource) -> dg.SkipReason | list[dg.RunRequest]:
        tick = context.scheduled_execution_time.astimezone(UTC)
        with clear_failures(), archive.opened() as opened:
            chosen = opened.settings
            if not is_on(spec, chosen):
                return dg.SkipReason(f"{spec.name} is off: {spec.key_setting} is not set")
            days = open_days(
                Ledger(opened.storage).read_open(spec.name).values(),
                last_reads(opened.storage, spec.name),
                tick,
                first=date.fromisoformat(chosen.archive_start_date),
                reread_days=chosen.archive_reread_days,
            )
        end_dead_runs(context.instance)
        busy = {day for span in days_in_flight(context.instance, spec.name) for day in span.days}
        free = [day for day in days if day not in busy]
        if not free:
            why = "every open partition has a run already" if days else "every partition is complete"
            return dg.SkipReason(f"{spec.name}: {why}")
        return [request(span, f"{tick:%Y-%m-%dT%H:%M}:{span}") for span in ranges_of(free)]

    return hourly
