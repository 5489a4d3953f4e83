"""The ``<provider>/recordings`` asset: a thin Dagster shell around :mod:`assets.recordings.archiving`."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from assets.recordings.archiving import RunMemory, Selection, archive_day
from assets.recordings.lifecycle import State
from assets.recordings.report import DayReport
from assets.shell import clear_failures, hold_run, verbatim
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec

NOTHING_WENT_WRONG = "nothing_went_wrong_for_good"
PLAYS_AS_SAID = "copies_play_as_long_as_the_provider_says"


MISMATCHES_SHOWN = 20
"""How many copies the check names; all are counted, and the catalog has them all."""


class RecordingsConfig(dg.Config):
    """What a launch may choose."""

    execution_ids: list[str] = Field(
        default_factory=list, description="Only these executions of the partition, due or not. Empty: everything that is due."
    )
    retry_failed: bool = Field(
        default=False,
        description="Ask again for recordings that ended without a copy (failed, absent, purged) or are blocked.",
    )
    dry_run: bool = Field(default=False, description="Ask nothing, write nothing: show what would be taken up.")


def build_recordings_asset(
    spec: ProviderSpec, partitions: dg.PartitionsDefinition[str], executions: dg.AssetsDefinition
) -> dg.AssetsDefinition:
    """Return the recordings asset of one provider."""

    @dg.asset(
        key=[spec.name, "recordings"],
        deps=[executions],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"file"},
        pool=spec.name,
        group_name=spec.name,
        description=f"The {spec.title} recordings of a day: fetched by fresh links, verified, stored, and written down.",
        check_specs=[
            dg.AssetCheckSpec(
                NOTHING_WENT_WRONG,
                asset=dg.AssetKey([spec.name, "recordings"]),
                description="No recording of this run ended as a dead letter, and none is blocked by a setting.",
            ),
            dg.AssetCheckSpec(
                PLAYS_AS_SAID,
                asset=dg.AssetKey([spec.name, "recordings"]),
                description="Every copy of these days plays for as long as the provider says, as far as both say anything.",
            ),
        ],
    )
    def recordings(
        context: dg.AssetExecutionContext, config: RecordingsConfig, archive: ArchiveResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        selection = Selection(frozenset(config.execution_ids), config.retry_failed, config.dry_run)
        reports: list[DayReport] = []
        memory = RunMemory()
        hold_run(context)
        with clear_failures(), archive.opened() as opened:
            for key in context.partition_keys:
                report = archive_day(opened, spec.name, date.fromisoformat(key), context.run.run_id, selection, memory)
                context.log.info(summary(report))
                context.add_asset_metadata(metadata(report), asset_key=context.asset_key, partition_key=key)
                reports.append(report)
        yield dg.MaterializeResult(check_results=[_verdict(reports), verdict_on_lengths(reports)])

    return recordings


def summary(report: DayReport) -> str:
    """Return one line for the log."""
    states = ", ".join(f"{count} {state.value}" for state, count in sorted(report.states.items())) or "nothing due"
    prefix = "dry run: " if report.dry_run else ""
    return (
        f"{prefix}{report.provider} {report.day}: {states}; {report.already_archived} of {report.known} were archived before; "
        f"{report.bytes / 1e6:.1f} MB at {report.megabytes_per_second:.1f} MB/s"
    )


def metadata(report: DayReport) -> Mapping[str, dg.MetadataValue]:
    """Return the metadata of one partition's materialization."""
    records = [
        dg.TableRecord(
            {
                "execution_id": fault.execution_id,
                "leg": fault.leg,
                "state": fault.state.value,
                "outcome": fault.outcome.value,
                "http_status": fault.http_status if fault.http_status is not None else "",
                "detail": fault.detail,
            }
        )
        for fault in report.worst
    ]
    columns = [dg.TableColumn(name, "string") for name in ("execution_id", "leg", "state", "outcome", "http_status", "detail")]
    counts = {state.value: dg.MetadataValue.int(report.states[state]) for state in State}
    return {
        **counts,
        "already_archived": dg.MetadataValue.int(report.already_archived),
        "due": dg.MetadataValue.int(report.due),
        "bytes": dg.MetadataValue.int(report.bytes),
        "MB/s": dg.MetadataValue.float(round(report.megabytes_per_second, 2)),
        "links_asked": dg.MetadataValue.int(report.links),
        "continuations": dg.MetadataValue.int(report.continuations),
        "other_length": dg.MetadataValue.int(len(report.mismatches)),
        "unknown_length": dg.MetadataValue.int(report.unknown_lengths),
        "dry_run": dg.MetadataValue.bool(report.dry_run),
        "worst_errors": dg.MetadataValue.table(records, dg.TableSchema(columns)),
    }


def _verdict(reports: list[DayReport]) -> dg.AssetCheckResult:
    done = [report for report in reports if not report.dry_run]
    failed = sum(report.states[State.FAILED] for report in done)
    blocked = sum(report.states[State.BLOCKED] for report in done)
    worst = next((fault.detail for report in reports for fault in report.worst), "")
    return dg.AssetCheckResult(
        passed=failed + blocked == 0,
        check_name=NOTHING_WENT_WRONG,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{failed} dead letters, {blocked} blocked. {worst}" if failed + blocked else None,
        metadata={"failed": failed, "blocked": blocked},
    )


def verdict_on_lengths(reports: list[DayReport]) -> dg.AssetCheckResult:
    """Judge all copies of the run's partitions, whichever run made them: a flaw does not go away by being looked at once."""
    mismatches = [mismatch for report in reports for mismatch in report.mismatches]
    lines = "\n".join(str(mismatch) for mismatch in mismatches[:MISMATCHES_SHOWN])
    return dg.AssetCheckResult(
        passed=not mismatches,
        check_name=PLAYS_AS_SAID,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(mismatches)} copies play for another time than the provider says. {mismatches[0]}"
        if mismatches
        else None,
        metadata={
            "copies": sum(report.copies for report in reports),
            "other_length": len(mismatches),
            "unknown_length": sum(report.unknown_lengths for report in reports),
            "mismatches": verbatim(lines),
        },
    )
