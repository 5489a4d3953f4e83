"""The ``compaction`` asset: a thin Dagster shell around :mod:`assets.catalog.tidying`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any

import dagster as dg

from assets.catalog.asset import POOL
from assets.catalog.tidying import Tidied, tidy_up
from assets.shell import clear_failures, hold_run, verbatim
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec

COMPACTION_KEY = dg.AssetKey("compaction")
NOTHING_STRANGE = "only_the_archive_writes_here"
_SHOWN = 50


def build_compaction_asset(specs: Sequence[ProviderSpec], upstream: Sequence[dg.AssetsDefinition]) -> dg.AssetsDefinition:
    """Return the asset that folds and compacts the lake. It shares the catalog's pool: one of the two at a time."""

    @dg.asset(
        key=COMPACTION_KEY,
        deps=list(upstream),
        pool=POOL,
        group_name=POOL,
        kinds={"parquet"},
        description="The lake, compacted: one sorted file for many small ones, of a day or a month; what is replaced goes later.",
        check_specs=[
            dg.AssetCheckSpec(
                NOTHING_STRANGE,
                asset=COMPACTION_KEY,
                description="Every event file is what a run of the archive wrote; others are left as they are, and are named.",
            )
        ],
    )
    def compaction(context: dg.AssetExecutionContext, archive: ArchiveResource) -> Iterator[dg.MaterializeResult[Any]]:
        hold_run(context)
        started = monotonic()
        with clear_failures(), archive.opened() as opened:
            done = tidy_up(opened.storage, specs, timedelta(hours=opened.settings.archive_grace_hours))
        for provider, each in done.items():
            context.log.info(summary(provider, each))
        yield dg.MaterializeResult(metadata=metadata(done, monotonic() - started), check_results=[_verdict(done)])

    return compaction


def summary(provider: str, done: Tidied) -> str:
    """Return one line for the log."""
    return (
        f"{provider}: {done.fold.new_files} event files folded, {done.files_before} files before and {done.files_after} after, "
        f"{done.rows} rows written, {done.months} months packed, {done.removed} replaced files removed"
    )


def metadata(done: Mapping[str, Tidied], seconds: float) -> Mapping[str, dg.MetadataValue]:
    """Return the metadata of a compaction, by provider and in all."""
    found: dict[str, dg.MetadataValue] = {"seconds": dg.MetadataValue.float(round(seconds, 3))}
    for name in ("files_before", "files_after", "rows", "months", "removed"):
        counts = {provider: int(getattr(each, name)) for provider, each in done.items()}
        found[name] = dg.MetadataValue.int(sum(counts.values()))
        found |= {f"{provider}/{name}": dg.MetadataValue.int(count) for provider, count in counts.items()}
    return found


def _verdict(done: Mapping[str, Tidied]) -> dg.AssetCheckResult:
    left = [each for tidied in done.values() for each in tidied.left]
    lines = [f"{path}: {words}" for path, words in left[:_SHOWN]]
    return dg.AssetCheckResult(
        passed=not left,
        check_name=NOTHING_STRANGE,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(left)} files are left as they are: {lines[0]}. Run `recording-archive verify`." if left else None,
        metadata={"left": verbatim("\n".join(lines))} if left else {},
    )
