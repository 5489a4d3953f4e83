"""The ``<provider>/executions`` asset: a thin Dagster shell around :mod:`assets.executions.ingest`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from assets.executions.ingest import DayReport, IngestReport, ingest
from assets.executions.reads import note_reads
from assets.recordings.discovery import Discovery
from assets.recordings.duration import Tolerance
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from assets.shell import clear_failures, hold_run, verbatim
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec

EVERYTHING_UNDERSTOOD = "everything_was_understood"


def build_executions_asset(spec: ProviderSpec, partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """Return the executions asset of one provider."""

    @dg.asset(
        key=[spec.name, "executions"],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=spec.name,
        group_name=spec.name,
        kinds={"parquet"},
        description=f"The {spec.title} executions of a day: typed, nested, with their raw JSON, merged with earlier reads.",
        check_specs=[
            dg.AssetCheckSpec(
                EVERYTHING_UNDERSTOOD,
                asset=dg.AssetKey([spec.name, "executions"]),
                description="Every part of the provider's answer could be read; what could not is listed, and nothing was lost.",
            )
        ],
    )
    def executions(context: dg.AssetExecutionContext, archive: ArchiveResource) -> Iterator[dg.MaterializeResult[Any]]:
        days = [date.fromisoformat(key) for key in context.partition_keys]
        hold_run(context)
        with clear_failures(), archive.opened() as opened:
            policy, tolerance = Policy.from_settings(opened.settings), Tolerance.from_settings(opened.settings)
            run_id, now = context.run.run_id, opened.runtime.now()
            discovery = Discovery(Ledger(opened.storage), spec.name, run_id=run_id, now=now, policy=policy, tolerance=tolerance)

            def note(past: Sequence[date]) -> None:
                note_reads(opened.storage, spec.name, past, now)

            provider = opened.provider(spec.name)
            report = ingest(provider, spec, opened.storage, days, now=now, before_write=discovery, after_read=note)
            for day in report.days:
                context.log.info(summary(spec, day))
                context.add_asset_metadata(metadata(day), asset_key=context.asset_key, partition_key=day.day.isoformat())
            if report.error is not None:
                raise report.error
        yield dg.MaterializeResult(check_results=[_verdict(report)])

    return executions


def summary(spec: ProviderSpec, day: DayReport) -> str:
    """Return one line for the log."""
    return (
        f"{spec.name} {day.day}: {day.rows} executions ({day.new} new, {day.changed} changed, "
        f"{day.non_terminal} still running), {day.problem_count} problems"
    )


def metadata(day: DayReport) -> Mapping[str, dg.MetadataValue]:
    """Return the metadata of one partition's materialization."""
    return {
        "dagster/row_count": dg.MetadataValue.int(day.rows),
        "new": dg.MetadataValue.int(day.new),
        "changed": dg.MetadataValue.int(day.changed),
        "still_running": dg.MetadataValue.int(day.non_terminal),
        "problems": dg.MetadataValue.int(day.problem_count),
    }


def _verdict(report: IngestReport) -> dg.AssetCheckResult:
    problems = report.problems
    lines = "\n".join(f"- {problem.where}: {problem.what}" for problem in problems)
    return dg.AssetCheckResult(
        passed=not problems,
        check_name=EVERYTHING_UNDERSTOOD,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{report.problem_count} problems, the first: {problems[0].where}: {problems[0].what}" if problems else None,
        metadata={"problems": verbatim(lines)} if problems else {},
    )
