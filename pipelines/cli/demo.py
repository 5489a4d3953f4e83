"""``recording-archive demo``: the real jobs, schedules and sensors against the embedded sandbox, compared with its truth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from pipelines.cli.demo_world import FOLDER, Difference, Play, alone, running_world, use_environment
from pipelines.cli.output import EXIT_FAILED, STATES, megabytes, print_json, print_table


@click.command()
@click.option("--recordings", default=170, show_default=True, help="How many recordings the sandbox has.")
@click.option("--megabytes", "size", default=210.0, show_default=True, help="Their least total size, in MiB.")
@click.option("--seed", default=7, show_default=True, help="Names the sandbox's world.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds after which what is missing is a difference.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def demo(recordings: int, size: float, seed: int, timeout: float, as_json: bool) -> None:
    """Run everything on the embedded sandbox: three providers, three days. Writes only below ./demo."""
    FOLDER.mkdir(exist_ok=True)
    started = time.monotonic()
    with alone(), running_world(recordings, size, seed) as world:
        use_environment(world)
        play = Play(world, say=(lambda _: None) if as_json else click.echo)
        differences = play.run(timeout)
    seconds = time.monotonic() - started
    if as_json:
        print_json({**play.numbers(), "seconds": seconds, "differences": [f"{d.recording}: {d.words}" for d in differences]})
    else:
        _tell(play, differences, seconds)
    if differences:
        raise SystemExit(EXIT_FAILED)


def _tell(play: Play, differences: Sequence[Difference], seconds: float) -> None:
    numbers = play.numbers()
    click.echo("")
    found = {name: Counter(lane["states"]) for name, lane in numbers["providers"].items()}
    rows: list[list[Any]] = [
        [
            name,
            lane["executions"],
            sum(found[name].values()),
            *(found[name][state] for state in STATES),
            megabytes(lane["bytes"]),
            lane["flawed"],
        ]
        for name, lane in numbers["providers"].items()
    ]
    print_table(
        ["provider", "executions", "recordings", *STATES, "stored", "flawed"], rows, title="What was found, and what became of it"
    )
    print_table(["provider", "recordings", "refused because"], play.refusals(), title="What was not archived, and why")
    click.echo(
        f"This time {numbers['fetched']} recordings were fetched, {numbers['links']} links asked for, "
        f"in {numbers['runs']} Dagster runs and {seconds:.0f} s."
    )
    click.echo(f"Read back: {numbers['verified']} copies have the length and SHA-256 of the sandbox's truth.")
    click.echo("")
    click.echo(f"Recordings   {FOLDER}/archive/recordings/    (sidecars beside them)")
    click.echo(f"Checksums    cd {FOLDER}/archive && find manifests -name '*.txt' -exec sha256sum -c --quiet {{}} +")
    click.echo(f"Catalog      {FOLDER}/archive/archive.duckdb   (any DuckDB client, at any time)")
    click.echo(f"Dagster      DAGSTER_HOME={FOLDER.resolve() / 'dagster'} make ui")
    click.echo("Queries to try, with any DuckDB client on that file:")
    for text in QUERIES:
        click.echo(f"  {text}")
    click.echo("")
    for item in differences:
        click.echo(f"DIFFERENCE {item.recording} ({item.scenario}): {item.words}", err=True)
    click.echo("The archive differs from the truth." if differences else "Success: every recording ended as the sandbox says.")


QUERIES = (
    "SELECT * FROM coverage ORDER BY provider, date;",
    "SELECT provider, state, last_outcome, count(*) FROM recordings GROUP BY ALL ORDER BY ALL;",
    "SELECT path, media_seconds, expected_seconds FROM recordings WHERE flaw = 'duration';",
    "SELECT path, bytes, call_duration FROM recordings JOIN feather_calls USING (execution_id) WHERE state = 'archived' LIMIT 5;",
)
