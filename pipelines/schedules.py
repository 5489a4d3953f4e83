"""The schedules: each hour, read the open partitions again and archive what is due; each day, audit what is archived."""

from collections.abc import Sequence
from datetime import UTC, date

import dagster as dg

from assets.executions.reads import last_reads
from assets.recordings.ledger import Ledger
from assets.recordings.queue import QUEUE_COLUMNS, open_days, ranges_of, unfinished_days
from assets.shell import clear_failures
from pipelines.in_flight import UNFINISHED, days_in_flight, end_dead_runs, request
from pipelines.jobs import COMPACTION_JOB, archive_job_name, fixity_job_name
from resources.archive import is_on
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec
from resources.settings import Settings


def schedule_name(provider: str) -> str:
    """Return the name of a provider's schedule."""
    return f"{provider}_hourly"


def fixity_schedule_name(provider: str) -> str:
    """Return the name of the schedule of a provider's audit."""
    return f"{provider}_fixity_daily"


def build_schedules(specs: Sequence[ProviderSpec], settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the two schedules of each provider, and that of the compaction."""
    running = dg.DefaultScheduleStatus.RUNNING if settings.archive_automation == "running" else dg.DefaultScheduleStatus.STOPPED
    of_providers = [build(spec, running, settings) for spec in specs for build in (_build, _build_fixity)]
    return [*of_providers, _build_compaction(running, settings)]


COMPACTION_SCHEDULE = "lake_compaction"


def _build_compaction(running: dg.DefaultScheduleStatus, settings: Settings) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=COMPACTION_SCHEDULE,
        cron_schedule=settings.compaction_schedule_cron,
        job_name=COMPACTION_JOB,
        default_status=running,
        execution_timezone="UTC",
        description="Compacts what runs have appended into one sorted file a day, and removes what was replaced long ago.",
    )
    def compaction(context: dg.ScheduleEvaluationContext) -> dg.SkipReason | dg.RunRequest:
        tick = context.scheduled_execution_time.astimezone(UTC)
        end_dead_runs(context.instance)
        if context.instance.get_runs(filters=dg.RunsFilter(job_name=COMPACTION_JOB, statuses=UNFINISHED), limit=1):
            return dg.SkipReason("a compaction is under way")
        return dg.RunRequest(run_key=f"{tick:%Y-%m-%dT%H:%M}")

    return compaction


def _build(spec: ProviderSpec, running: dg.DefaultScheduleStatus, settings: Settings) -> dg.ScheduleDefinition:

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
                unfinished_days(Ledger(opened.storage).open_table(spec.name, QUEUE_COLUMNS)),
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


def _build_fixity(spec: ProviderSpec, running: dg.DefaultScheduleStatus, settings: Settings) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=fixity_schedule_name(spec.name),
        cron_schedule=settings.fixity_schedule_cron,
        job_name=fixity_job_name(spec.name),
        default_status=running,
        execution_timezone="UTC",
        description=f"Reads a part of the archived {spec.title} recordings back each day, and fetches again what is bad.",
    )
    def fixity_daily(context: dg.ScheduleEvaluationContext, archive: ArchiveResource) -> dg.SkipReason | dg.RunRequest:
        tick = context.scheduled_execution_time.astimezone(UTC)
        with clear_failures(), archive.opened() as opened:
            # Also without a key: what was archived while there was one is still to be looked after.
            if not Ledger(opened.storage).days(spec.name):
                return dg.SkipReason(f"{spec.name}: nothing is archived yet")
        end_dead_runs(context.instance)
        filters = dg.RunsFilter(job_name=fixity_job_name(spec.name), statuses=UNFINISHED)
        if context.instance.get_runs(filters=filters, limit=1):
            return dg.SkipReason(f"{spec.name}: an audit is under way")
        return dg.RunRequest(run_key=f"{tick:%Y-%m-%dT%H:%M}")

    return fixity_daily
