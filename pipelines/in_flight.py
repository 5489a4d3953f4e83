"""Which partitions a run is working on now, however it was launched: a job, assets by hand, or a range of a backfill."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import dagster as dg

from assets.liveness import dead_runs, forget
from assets.recordings.queue import DayRange
from pipelines.jobs import archive_job_name, retry_job_name

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def days_in_flight(instance: dg.DagsterInstance, provider: str) -> list[DayRange]:
    """Return the ranges of days of ``<provider>/recordings`` that unfinished runs are on."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))
    return [span for run in runs if _touches(run, provider) and (span := range_of_tags(run.tags)) is not None]


def end_dead_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs of this home whose process has ended as failed, which frees partitions and pools; return how many."""
    home = Path(instance.root_directory)
    ended = 0
    for run_id in dead_runs(home):
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status in UNFINISHED:
            instance.report_run_failed(run, "its process ended before the run did")
            ended += 1
        forget(home, run_id)
    return ended


def range_of_tags(tags: Mapping[str, str]) -> DayRange | None:
    """Return the days that a run's tags name, or None for a run without partitions."""
    if RANGE_START_TAG in tags and RANGE_END_TAG in tags:
        return DayRange(date.fromisoformat(tags[RANGE_START_TAG]), date.fromisoformat(tags[RANGE_END_TAG]))
    if PARTITION_TAG in tags:
        day = date.fromisoformat(tags[PARTITION_TAG])
        return DayRange(day, day)
    return None


def request(span: DayRange, run_key: str, tags: Mapping[str, str] | None = None) -> dg.RunRequest:
    """Return the request of one run over ``span``."""
    tags = dict(tags or {})
    if span.first == span.last:
        return dg.RunRequest(run_key=run_key, partition_key=span.first.isoformat(), tags=tags)
    ends = {RANGE_START_TAG: span.first.isoformat(), RANGE_END_TAG: span.last.isoformat()}
    return dg.RunRequest(run_key=run_key, tags={**tags, **ends})


def _touches(run: dg.DagsterRun, provider: str) -> bool:
    if run.job_name in (archive_job_name(provider), retry_job_name(provider)):
        return True
    return run.asset_selection is not None and dg.AssetKey([provider, "recordings"]) in run.asset_selection
