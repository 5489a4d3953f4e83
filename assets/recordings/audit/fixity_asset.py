"""The ``<provider>/fixity`` asset: a thin Dagster shell around :mod:`assets.recordings.audit.fixity`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.recordings.audit.fixity import AuditReport, audit
from assets.recordings.audit.mending import Finding
from assets.shell import clear_failures, hold_run
from resources.dagster_archive import ArchiveResource
from resources.providers.protocol import ProviderSpec

EVERY_COPY_WHOLE = "every_copy_is_whole"
_SHOWN = 200


def build_fixity_asset(spec: ProviderSpec, recordings: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Return the audit asset of one provider.

    It has a pool of its own, so that archiving never waits for it; what it asks of the provider counts with what all runs ask.
    """

    @dg.asset(
        key=[spec.name, "fixity"],
        deps=[recordings],
        pool=f"{spec.name}_fixity",
        group_name=spec.name,
        kinds={"file"},
        description=f"The audit of the {spec.title} recordings: a part of them is read back each day, all of them in a cycle.",
        check_specs=[
            dg.AssetCheckSpec(
                EVERY_COPY_WHOLE,
                asset=dg.AssetKey([spec.name, "fixity"]),
                description="Every copy that was read back is what was stored, and no earlier damage is left.",
            )
        ],
    )
    def fixity(context: dg.AssetExecutionContext, archive: ArchiveResource) -> Iterator[dg.MaterializeResult[Any]]:
        hold_run(context)
        with clear_failures(), archive.opened() as opened:
            report = audit(opened, spec.name, context.run.run_id)
        context.log.info(summary(report))
        yield dg.MaterializeResult(metadata=metadata(report), check_results=[_verdict(report)])

    return fixity


def summary(report: AuditReport) -> str:
    """Return one line for the log."""
    rest = "all that was due" if report.is_complete else f"{report.days_behind} days behind, the next audit goes on there"
    return (
        f"{report.provider}: {report.copies} copies, {report.bytes / 1e6:.1f} MB read back in {report.seconds:.0f} s, {rest}; "
        f"{len(report.findings)} were not what was stored, {len(report.unmended)} of them still are not"
    )


def metadata(report: AuditReport) -> Mapping[str, dg.MetadataValue]:
    """Return the metadata of an audit; the findings as a table, what is not mended first."""
    shown = [*report.unmended, *report.mended][:_SHOWN]
    columns = [dg.TableColumn(name, "string") for name in ("recording", "path", "fault", "mended", "remedy")]
    return {
        "copies": dg.MetadataValue.int(report.copies),
        "bytes": dg.MetadataValue.int(report.bytes),
        "parts": dg.MetadataValue.text(", ".join(f"{part + 1} of {report.cycle_days}" for part in report.parts)),
        "complete": dg.MetadataValue.bool(report.is_complete),
        "days_behind": dg.MetadataValue.int(report.days_behind),
        "faults": dg.MetadataValue.int(len(report.findings)),
        "not_mended": dg.MetadataValue.int(len(report.unmended)),
        "findings": dg.MetadataValue.table([_record(finding) for finding in shown], dg.TableSchema(columns)),
    }


def _record(finding: Finding) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "recording": str(finding.key),
            "path": finding.path,
            "fault": finding.fault or "",
            "mended": "yes" if finding.mended else "no",
            "remedy": finding.remedy,
        }
    )


def _verdict(report: AuditReport) -> dg.AssetCheckResult:
    """Fail for what is still wrong; warn of what was, for a storage that loses bytes once will do so again."""
    first: Sequence[Finding] = [*report.unmended, *report.findings][:1]
    words = "".join(f" {finding.path}: {finding.fault}. {finding.remedy}" for finding in first)
    return dg.AssetCheckResult(
        passed=not report.findings,
        check_name=EVERY_COPY_WHOLE,
        severity=dg.AssetCheckSeverity.ERROR if report.unmended else dg.AssetCheckSeverity.WARN,
        description=f"{len(report.findings)} bad copies, {len(report.unmended)} not mended.{words}" if report.findings else None,
        metadata={"faults": len(report.findings), "not_mended": len(report.unmended)},
    )
