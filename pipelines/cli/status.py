"""``recording-archive status``: where every recording stands, from the ledger."""

from __future__ import annotations

from typing import Any

import click

from assets.recordings.audit.mending import LOST
from assets.recordings.ledger import Ledger
from assets.recordings.queue import QUEUE_COLUMNS, queue_of
from pipelines.cli.output import EXIT_NEEDS_A_PERSON, STATES, megabytes, print_json, print_table, require_archive
from resources.archive import Archive, is_on, open_archive
from resources.providers.registry import PROVIDERS


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(as_json: bool) -> None:
    """Show how many recordings are in each state, what is due, and what needs a person (then exits with 3)."""
    archive = open_archive()
    require_archive(archive)
    lanes = {name: _lane(archive, name) for name in PROVIDERS}
    if as_json:
        print_json({"archive_root": archive.storage.url, "providers": lanes})
    else:
        click.echo(f"archive: {archive.storage.url}")
        rows = [
            [
                name,
                *(lane["states"][state] for state in STATES),
                *(megabytes(lane["bytes"]), sum(lane["flaws"].values()), lane["due"], lane["next_attempt_at"]),
            ]
            for name, lane in lanes.items()
        ]
        print_table(["provider", *STATES, "stored", "flawed", "due now", "next attempt"], rows)
        for name, spec in PROVIDERS.items():
            if not is_on(spec, archive.settings):
                click.echo(f"{name} is off: {spec.key_setting} is not set")
    if any(lane["flaws"] for lane in lanes.values()):
        click.echo("some copies are doubtful: see recordings.flaw, media_seconds and expected_seconds", err=True)
    if any(lane["lost"] for lane in lanes.values()):
        click.echo("some archived copies are damaged or missing: run `recording-archive audit`", err=True)
    if any(lane["states"]["failed"] or lane["states"]["blocked"] for lane in lanes.values()):
        click.echo("some recordings need a person: see recordings.last_outcome and recording_attempts.detail", err=True)
    if any(lane["states"]["failed"] or lane["states"]["blocked"] or lane["lost"] for lane in lanes.values()):
        raise SystemExit(EXIT_NEEDS_A_PERSON)


def _lane(archive: Archive, provider: str) -> dict[str, Any]:
    ledger = Ledger(archive.storage)
    standing = ledger.standing(provider)
    queue = queue_of(ledger.open_table(provider, QUEUE_COLUMNS), archive.runtime.now())
    return {
        "on": is_on(PROVIDERS[provider], archive.settings),
        "states": {state: standing.states.get(state, 0) for state in STATES},
        "bytes": standing.bytes,
        "flaws": standing.flaws,
        "lost": sum(count for flaw, count in standing.flaws.items() if flaw in LOST),
        "due": sum(queue.due.values()),
        "next_attempt_at": queue.next_at,
        "waiting_for_their_execution": queue.running,
    }
