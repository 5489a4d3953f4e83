"""The ``catalog`` asset: a thin Dagster shell around :mod:`assets.catalog.publication`."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.catalog.publication import publish
from assets.shell import clear_failures, hold_run
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec

CATALOG_KEY = dg.AssetKey("catalog")
POOL = "catalog"


def build_catalog_asset(specs: Sequence[ProviderSpec], upstream: Sequence[dg.AssetsDefinition]) -> dg.AssetsDefinition:
    """Return the asset that folds the ledger and publishes ``archive.duckdb``."""

    @dg.asset(
        key=CATALOG_KEY,
        deps=list(upstream),
        pool=POOL,
        group_name=POOL,
        kinds={"duckdb"},
        description="archive.duckdb: one file for analysts, replaced in one step, open to any number of readers meanwhile.",
    )
    def catalog(context: dg.AssetExecutionContext, archive: ArchiveResource) -> dg.MaterializeResult[Any]:
        hold_run(context)
        with clear_failures(), archive.opened() as opened:
            publication = publish(opened.storage, specs, opened.runtime.now())
        context.log.info("published %s: %s", publication.path, publication.rows)
        rows = {f"rows/{name}": dg.MetadataValue.int(count) for name, count in publication.rows.items()}
        folded = sum(fold.new_files for fold in publication.folds)
        return dg.MaterializeResult(
            metadata={**rows, "path": publication.path, "bytes": publication.bytes, "event_files_folded": folded}
        )

    return catalog
