"""``recording-archive audit``: the daily audit, for those who run no daemon."""

from __future__ import annotations

import click

from assets.recordings.audit.fixity import lost_events
from assets.recordings.ledger import Ledger
from pipelines.assembly import build_definitions
from pipelines.cli.output import EXIT_FAILED, EXIT_NEEDS_A_PERSON, print_json, require_archive
from pipelines.execution import Launcher
from pipelines.in_flight import end_dead_runs
from pipelines.instance import dagster_home, open_instance
from resources.archive import open_archive
from resources.dagster_archive import ArchiveResource
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings

_ALL = "all"


@click.command()
@click.argument("provider", type=click.Choice([_ALL, *PROVIDERS]), default=_ALL)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def audit(provider: str, as_json: bool) -> None:
    """Read the day's part of the archive back, fetch again what is bad, and publish. Exits with 3 while a copy is lost."""
    settings = load_settings()
    archive = open_archive(settings)
    require_archive(archive)
    resource, ledger = ArchiveResource(), Ledger(archive.storage)
    names = [name for name in (PROVIDERS if provider == _ALL else [provider]) if ledger.days(name)]
    with open_instance(dagster_home()) as instance:
        end_dead_runs(instance)
        launcher = Launcher(build_definitions(settings, resource), instance, resource)
        for name in names:
            launcher.audit(name)
        launcher.publish()
    lost = [event for name in names for event in lost_events(ledger, name)]
    failures = [text for result in launcher.runs for text in result.failures]
    checks = [text for result in launcher.runs for text in result.failed_checks]
    if as_json:
        left = [{"recording": str(event.key), "path": event.copy and event.copy.path, "fault": event.detail} for event in lost]
        print_json({"lost": left, "failures": failures, "failed_checks": checks, "runs": [r.run_id for r in launcher.runs]})
    else:
        click.echo(f"{', '.join(names) or 'nothing'} audited; {len(lost)} copies are lost")
        for text in (*(f"failed: {text}" for text in failures), *(f"check: {text}" for text in checks)):
            click.echo(text, err=True)
        for event in lost:
            click.echo(f"{event.copy.path if event.copy else event.key}: {event.detail}", err=True)
    if failures:
        raise SystemExit(EXIT_FAILED)
    if lost:
        raise SystemExit(EXIT_NEEDS_A_PERSON)
