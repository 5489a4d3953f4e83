"""``recording-archive rebuild``: make everything again that follows from recordings, sidecars and events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from assets.catalog.publication import Publication, publish
from assets.recordings.audit.rebuilding import RebuildReport
from assets.recordings.audit.rebuilding import rebuild as rebuild_provider
from pipelines.cli.output import EXIT_NEEDS_A_PERSON, print_json, require_archive
from pipelines.cli.progress import progress
from resources.archive import open_archive
from resources.providers.registry import PROVIDERS


@click.command()
@click.option("--accept-losses", is_flag=True, help="Event files that are gone are gone for good: verify names them no more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def rebuild(accept_losses: bool, as_json: bool) -> None:
    """Make lost events, the compacted state, the manifests and archive.duckdb again. Exits with 3 when something is left."""
    archive = open_archive()
    require_archive(archive)
    with progress(quiet=as_json) as tell:
        reports = [rebuild_provider(archive, spec, tell, accept_loss=accept_losses) for spec in PROVIDERS.values()]
        publication = publish(archive.storage, PROVIDERS.values(), archive.runtime.now())
    archive.close()
    _say(reports, publication, as_json=as_json)
    if any(report.needs_a_person for report in reports):
        raise SystemExit(EXIT_NEEDS_A_PERSON)


def _say(reports: Sequence[RebuildReport], publication: Publication, *, as_json: bool) -> None:
    if as_json:
        told = {report.provider: {**asdict(report), "faults": [_fault(*fault) for fault in report.faults]} for report in reports}
        print_json({"providers": told, "catalog": {"path": publication.path, "rows": publication.rows}})
        return
    for report in reports:
        click.echo(
            f"{report.provider}: {report.recordings} recordings on {report.days} days. Events written again: "
            f"{report.rebuilt} from sidecars, {report.adopted} from bytes, {report.salvaged} from the compacted state, "
            f"{report.discovered} from executions"
        )
        if report.losses_accepted:
            click.echo(f"{report.provider}: {len(report.gone)} event files are gone, which is accepted")
    click.echo(f"{publication.path}: {', '.join(f'{count} {name}' for name, count in publication.rows.items())}")
    for report in reports:
        for path, words in report.faults:
            click.echo(f"{path}: {words}", err=True)
        for path in () if report.losses_accepted else report.gone:
            click.echo(f"{path}: this event file is gone (--accept-losses, if it is for good)", err=True)


def _fault(path: str, words: str) -> dict[str, str]:
    return {"path": path, "fault": words}
