"""Putting the Dagster definitions together: everything is made from the registry of providers."""

from __future__ import annotations

import warnings

import dagster as dg

from assets.catalog.asset import build_catalog_asset
from assets.catalog.compaction_asset import build_compaction_asset
from assets.executions.asset import build_executions_asset
from assets.recordings.asset import build_recordings_asset
from assets.recordings.audit.fixity_asset import build_fixity_asset
from pipelines.jobs import build_jobs
from pipelines.partitions import daily_partitions
from pipelines.schedules import build_schedules
from pipelines.sensors import build_sensors
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec
from resources.providers.registry import PROVIDERS
from resources.settings import Settings


def build_definitions(settings: Settings, archive: ArchiveResource | None = None) -> dg.Definitions:
    """Return the definitions for ``settings``.

    Args:
        settings: decide partitions, cron and intervals; keys are read again by each run.
        archive: the resource of all runs; default: the environment and ``.env``.
    """
    specs = list(PROVIDERS.values())
    partitions = daily_partitions(settings)
    with warnings.catch_warnings():
        # Single-run backfills are called beta by Dagster; they are pinned with it, and tests run them.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _build(specs, partitions, settings, archive or ArchiveResource())


def _build(
    specs: list[ProviderSpec], partitions: dg.DailyPartitionsDefinition, settings: Settings, archive: ArchiveResource
) -> dg.Definitions:
    executions = [build_executions_asset(spec, partitions) for spec in specs]
    recordings = [build_recordings_asset(spec, partitions, made) for spec, made in zip(specs, executions, strict=True)]
    fixity = [build_fixity_asset(spec, made) for spec, made in zip(specs, recordings, strict=True)]
    made = [*executions, *recordings, *fixity]
    return dg.Definitions(
        assets=[*made, build_catalog_asset(specs, made), build_compaction_asset(specs, made)],
        jobs=build_jobs(specs),
        schedules=build_schedules(specs, settings),
        sensors=build_sensors(specs, settings),
        resources={"archive": archive},
        # Also for assets that are launched by hand and for backfills: a process for each step costs seconds, and gains nothing.
        executor=dg.in_process_executor,
    )
