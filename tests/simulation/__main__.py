"""``python -m tests.simulation``: many worlds, or one again. ``make simulate SEEDS=10000`` calls it."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click

from tests.simulation.simulation import Outcome, be_alone, simulate

PAGE = Path("docs/reliability.md")
BEGIN, END = "<!-- simulation: written by `make simulate` -->", "<!-- /simulation -->"
_SHOWN = 20


def main() -> int:
    """Simulate, print what came of it, and return 1 where an invariant did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="one world again, with everything that is known of it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then, with the worlds that are done")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {PAGE}")
    options = parser.parse_args()
    if options.seed is not None:
        outcome = simulate(options.seed)
        click.echo(outcome)
        return int(outcome.violation is not None)
    started = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    with multiprocessing.get_context("spawn").Pool(options.processes, be_alone) as pool:
        until = started + 60 * options.minutes
        done = itertools.takewhile(lambda _: time.monotonic() < until, pool.imap(simulate, seeds, chunksize=5))
        outcomes = list(_shown(done, len(seeds)))
    figures = _figures(outcomes, time.monotonic() - started, options.processes)
    click.echo(figures)
    violations = sorted((each.seed, each.violation) for each in outcomes if each.violation is not None)
    for seed, violation in violations[:_SHOWN]:
        click.echo(f"seed {seed}: {violation}\n    again: make simulate SEED={seed}", err=True)
    if options.write and not violations:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return int(bool(violations))


def _shown(outcomes: Iterable[Outcome], total: int) -> Iterable[Outcome]:
    for number, outcome in enumerate(outcomes, 1):
        if outcome.violation is not None:
            click.echo(f"seed {outcome.seed}: {outcome.violation}", err=True)
        if number % 500 == 0:
            click.echo(f"{number} of {total} worlds", err=True)
        yield outcome


def _figures(outcomes: list[Outcome], seconds: float, processes: int) -> str:
    """Return what the worlds came to, as Markdown."""
    faults, requests = Counter[str](), Counter[str]()
    for each in outcomes:
        faults.update(each.faults)
        requests.update(each.requests)
    recordings = sum(each.recordings for each in outcomes)
    per_recording = statistics.median(sum(each.requests.values()) / each.recordings for each in outcomes)
    seeds = [each.seed for each in outcomes]
    rows = [
        ("worlds (seeds)", f"{len(outcomes):,} ({min(seeds)} to {max(seeds)})"),
        ("in which an invariant did not hold", f"{sum(each.violation is not None for each in outcomes):,}"),
        ("recordings, of these ended archived", f"{recordings:,}, {sum(each.archived for each in outcomes):,}"),
        ("runs", f"{sum(each.runs for each in outcomes):,}"),
        ("of these killed", f"{sum(each.killed for each in outcomes):,}"),
        ("of these failed by a storage fault or a provider's", f"{sum(each.failed_runs for each in outcomes):,}"),
        ("power cuts", f"{sum(each.power_cuts for each in outcomes):,}"),
        ("API requests, media requests", f"{requests['api']:,}, {requests['media']:,}"),
        ("requests for each recording, lists included, median world", f"{per_recording:.1f}"),
        ("simulated time, median world", f"{statistics.median(each.days for each in outcomes):.1f} days"),
    ]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    lines = [
        f"`make simulate SEEDS={len(outcomes)}`: {machine}, {processes} processes, {seconds:.0f} s.",
        "",
        "| what | how many |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "| fault | how often |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in sorted(faults.items())),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
