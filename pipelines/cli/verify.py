"""``recording-archive verify``: read the archive back and compare it with the ledger."""

from __future__ import annotations

from datetime import date

import click

from assets.recordings.ledger import Ledger
from assets.recordings.verification import Verdict, verify_day
from pipelines.cli.output import EXIT_NEEDS_A_PERSON, UTC_DAY, megabytes, print_json, require_archive, say
from resources.archive import open_archive
from resources.providers.registry import PROVIDERS


@click.command()
@click.argument("provider", type=click.Choice(["all", *PROVIDERS]), default="all")
@click.option("--date", "day", type=UTC_DAY, help="One UTC day. Default: all days in the ledger.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(provider: str, day: date | None, as_json: bool) -> None:
    """Read every archived copy back: length, SHA-256, sidecar, manifest. Exits with 3 when one is not what was stored."""
    archive = open_archive()
    require_archive(archive)
    ledger = Ledger(archive.storage)
    verdicts: list[Verdict] = []
    for name in PROVIDERS if provider == "all" else [provider]:
        for chosen in [day] if day else ledger.days(name):
            verdicts.extend(verify_day(ledger, name, chosen))
    faults = [verdict for verdict in verdicts if verdict.fault]
    total = sum(verdict.bytes for verdict in verdicts)
    copies = sum(verdict.is_copy for verdict in verdicts)
    if as_json:
        listed = [{"recording": str(item.key or ""), "path": item.path, "fault": item.fault} for item in faults]
        print_json({"copies": copies, "bytes": total, "faults": listed})
    else:
        click.echo(f"{copies} copies, {megabytes(total)} read back; {len(faults)} faults")
        for item in faults:
            say(f"{item.path}: {item.fault}", err=True)
    if faults:
        raise SystemExit(EXIT_NEEDS_A_PERSON)
