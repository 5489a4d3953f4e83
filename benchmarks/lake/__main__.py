"""Measure, print each figure with its limit, and write them down: ``python -m benchmarks.lake --root bench-lake``.

The page and the results are those of a lake of the standard size; a trial with a smaller one leaves them alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from benchmarks.generate import DAYS, EXECUTIONS, Plan, describe, generate
from benchmarks.lake import automation, commits, questions
from benchmarks.lake.report import Line, machine, table, write_json, write_page
from resources.storage import open_storage

_PROJECT = Path(__file__).resolve().parents[2]
_PAGE = _PROJECT / "docs" / "performance.md"
_RESULTS = _PROJECT / "benchmarks" / "results" / "lake.json"
_PARTS = ("commits", "questions", "nothing-new", "sensor", "ingest")
_INGEST = "ingest"
_FOLDER = click.Path(path_type=Path)


@click.command()
@click.option("--root", default="bench-lake", show_default=True, type=_FOLDER, help="The lake; made if need be.")
@click.option("--executions", default=EXECUTIONS, show_default=True, help="Of the lake, where it has to be made.")
@click.option("--days", default=DAYS, show_default=True, help="The same.")
@click.option("--rounds", default=9, show_default=True, help="Of each measurement; the medians count.")
@click.option("--only", type=click.Choice(_PARTS), multiple=True, help="These parts; nothing is written down then.")
@click.option(
    "--write/--no-write",
    default=None,
    help="Write docs/performance.md and benchmarks/results/lake.json. Default: where the lake has the standard size.",
)
def main(root: Path, executions: int, days: int, rounds: int, only: Sequence[str], write: bool | None) -> None:
    """Measure; ends with 1 where a limit is not kept."""
    for _ in generate(root, Plan(executions, days, seed=7), processes=2):
        pass
    found = describe(open_storage(str(root)))
    size = f"{found.executions:,} executions with {found.events:,} events, {found.open_recordings:,} recordings open."
    click.echo(size)
    lines: list[Line] = []
    scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=root.resolve().parent))  # beside it, for links
    try:
        for name, work in _works(root.resolve(), scratch, rounds).items():
            if name in (only or _PARTS):
                done = work()
                lines += done
                click.echo("\n".join(map(str, done)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    is_standard = (executions, days) == (EXECUTIONS, DAYS)
    if not only and (is_standard if write is None else write):
        facts = machine(root)
        write_json(_RESULTS, lines, facts, size)
        write_page(_PAGE, table(lines, facts, size))
    elif not only and write is None:
        click.echo(
            f"{_PAGE.name} was left alone: it tells of {EXECUTIONS:,} executions over {DAYS} days (--write writes it nonetheless)"
        )
    if any(line.passed is False for line in lines):
        raise SystemExit(1)


def _works(root: Path, scratch: Path, rounds: int) -> dict[str, Callable[[], list[Line]]]:
    return {
        "commits": lambda: [
            *commits.one_writer(scratch / "one", rounds * 25),
            *commits.four_writers(scratch / "four", max(1, rounds // 3), seconds=6.0),
        ],
        "questions": lambda: questions.questions(root, scratch / "questions", rounds * 2),
        "nothing-new": lambda: automation.nothing_new(root, scratch / "idle", rounds),
        "sensor": lambda: automation.many_due(root, scratch / "sensor", rounds),
        "ingest": lambda: ingest_lines(rounds),
    }


def ingest_lines(rounds: int) -> list[Line]:
    """Return the figures of ``benchmarks.ingest``; without dlt (`make bench-lake` installs it) there are none."""
    what = "rows per CPU-second, drift-safe"
    if importlib.util.find_spec("benchmarks.ingest") is None or importlib.util.find_spec("dlt") is None:
        return [Line(_INGEST, what, None, note="dlt is not installed")]
    found = importlib.import_module("benchmarks.ingest").measure(rounds)
    cells = f"{found['cells_compared']:,} cells compared"
    return [
        Line(_INGEST, what, found["rows_per_cpu_second"]["ours"], "", 28_000.0, at_least=True, note=cells),
        Line(_INGEST, "as a multiple of dlt", found["ratio"], "", 7.0, at_least=True, note=f"dlt {found['versions']['dlt']}"),
    ]


if __name__ == "__main__":
    main()
