"""``recording-archive compact``: the scheduled compaction, for those who run no daemon."""

from __future__ import annotations

import click

from pipelines.assembly import build_definitions
from pipelines.cli.output import EXIT_FAILED, EXIT_NEEDS_A_PERSON, print_json, require_archive
from pipelines.execution import Launcher
from pipelines.in_flight import end_dead_runs
from pipelines.instance import dagster_home, open_instance
from resources.archive import open_archive
from resources.dagster_archive import ArchiveResource
from resources.settings import load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def compact(*, as_json: bool) -> None:
    """Fold and compact the lake, remove what was replaced long ago, publish. Exits with 3 for files that are not its own."""
    settings = load_settings()
    archive = open_archive(settings)
    require_archive(archive)
    archive.close()
    resource = ArchiveResource()
    with open_instance(dagster_home()) as instance:
        end_dead_runs(instance)
        launcher = Launcher(build_definitions(settings, resource), instance, resource)
        compacted = launcher.compact()
        launcher.publish()
    failures = [text for result in launcher.runs for text in result.failures]
    checks = [text for result in launcher.runs for text in result.failed_checks]
    if as_json:
        runs = [result.run_id for result in launcher.runs]
        print_json({**compacted.metadata, "failures": failures, "failed_checks": checks, "runs": runs})
    else:
        told = compacted.metadata
        if not compacted.failures:
            click.echo(f"{told['files_before']} files before, {told['files_after']} after, {told['removed']} removed")
        for text in (*(f"failed: {text}" for text in failures), *(f"check: {text}" for text in checks)):
            click.echo(text, err=True)
    if failures:
        raise SystemExit(EXIT_FAILED)
    if checks:
        raise SystemExit(EXIT_NEEDS_A_PERSON)
