"""The jobs: what a schedule, a sensor or a person in the UI launches. All run in one process: concurrency is inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from assets.catalog.asset import CATALOG_KEY
from assets.catalog.compaction_asset import COMPACTION_KEY
from resources.providers.protocol import ProviderSpec

PROVIDER_TAG = "recording_archive/provider"


def archive_job_name(provider: str) -> str:
    """Return the name of the job that reads executions and archives recordings."""
    return f"{provider}_archive"


def retry_job_name(provider: str) -> str:
    """Return the name of the job that archives the recordings that are due, without reading executions."""
    return f"{provider}_retry"


def fixity_job_name(provider: str) -> str:
    """Return the name of the job that audits what is archived."""
    return f"{provider}_fixity"


CATALOG_JOB = "catalog_publish"
"""Not "catalog": a job and the op of an asset cannot share a name in a code location."""
COMPACTION_JOB = "lake_compact"


def build_jobs(specs: Sequence[ProviderSpec]) -> list[dg.UnresolvedAssetJobDefinition]:
    """Return the three jobs of each provider, the one that publishes the catalog, and the one that compacts the lake."""
    jobs = [
        _job(CATALOG_JOB, [CATALOG_KEY], "Fold the ledger and publish archive.duckdb."),
        _job(COMPACTION_JOB, [COMPACTION_KEY], "Fold and compact the lake, and remove what was replaced long ago."),
    ]
    for spec in specs:
        executions, recordings = dg.AssetKey([spec.name, "executions"]), dg.AssetKey([spec.name, "recordings"])
        tags = {PROVIDER_TAG: spec.name}
        jobs += [
            _job(archive_job_name(spec.name), [executions, recordings], _ARCHIVE.format(spec.title), tags),
            _job(retry_job_name(spec.name), [recordings], _RETRY.format(spec.title), tags),
            _job(fixity_job_name(spec.name), [dg.AssetKey([spec.name, "fixity"])], _FIXITY.format(spec.title), tags),
        ]
    return jobs


_ARCHIVE = (
    "Read the {} executions of the chosen days and archive the recordings that are due. "
    "Config of recordings: execution_ids (only these), retry_failed (also what ended without a copy), dry_run."
)
_RETRY = (
    "Archive the {} recordings that are due in the chosen days, without reading executions again. "
    "The retry sensor launches it. Config as for the archive job."
)
_FIXITY = (
    "Read the {} copies of the day's part of the archive back, and fetch again what is damaged or missing. "
    "Goes on where the last audit stopped."
)


def _job(
    name: str, keys: Sequence[dg.AssetKey], description: str, tags: Mapping[str, str] | None = None
) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*keys),
        executor_def=dg.in_process_executor,
        tags=dict(tags or {}),
        description=description,
    )
