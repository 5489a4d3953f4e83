"""Thousands of recordings while a share of all calls fails: is everything archived, is every hash right, and what did it cost?

``python -m benchmarks.chaos`` runs the real code against a sandbox in a process of its own, on a clock that both share and that
nobody waits for; compares the archive with the sandbox's truth; prints the figures, and writes them into docs/reliability.md.
Exits with 1 when anything is not as it should be.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import httpx

from assets.recordings.ledger import Ledger
from benchmarks.audit import ARCHIVED, Row, differences, states_of, unsettled
from benchmarks.rounds import Clock, Moved, Rounds
from resources.archive import Archive
from resources.settings import load_settings
from resources.storage import open_storage
from sandbox.options import WorldOptions
from sandbox.server import running_sandbox

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "reliability.md"
START, END = "<!-- chaos: written by make chaos -->", "<!-- /chaos -->"
ANCHOR = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
"""When the world begins: any moment, but always the same, so that the same questions are asked."""
LEAST_WAYS = 7
SHARE_TOLERANCE = 0.02
MOST_ROUNDS = 500
STALL_SECONDS = 1
"""MEDIA_STALL_SECONDS here: a body that stands still is the one fault that takes real time."""
DIFFERENCES_SHOWN = 50
WAITING_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: how many recordings, their MiB, the share of calls that fail, and the seed of world and faults."""

    recordings: int
    megabytes: float
    share: float
    seed: int

    @property
    def command(self) -> str:
        """The command that runs it again."""
        options = f"--recordings {self.recordings} --megabytes {self.megabytes:g} --share {self.share:g} --seed {self.seed}"
        return f"python -m benchmarks.chaos {options}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave.

    Attributes:
        plan: of the run.
        states: how many recordings of the truth are in each state.
        archivable: how many of them have to be archived.
        differences: what is not as it should be, in words.
        requests: what the sandbox counted.
        stored: bytes of the archived recordings.
        rounds, broken_reads: see :class:`~benchmarks.rounds.Rounds`.
        clock_hours: how far the shared clock went.
        seconds: that it took, and of these for the comparison with the truth.
        memory: the most MiB of the archive's process and of the sandbox's.
    """

    plan: Plan
    states: Counter[str]
    archivable: int
    differences: list[str]
    requests: dict[str, Any]
    stored: int
    rounds: int
    broken_reads: int
    clock_hours: float
    seconds: tuple[float, float]
    memory: tuple[int, int]


@click.command()
@click.option("--recordings", default=10_000, show_default=True, help="How many, all providers together.")
@click.option("--megabytes", default=300.0, show_default=True, help="Their least total size, in MiB.")
@click.option("--share", default=0.2, show_default=True, help="Of all calls, that fails.")
@click.option("--seed", default=1, show_default=True, help="Names the world and its faults: the same seed fails the same calls.")
@click.option("--write/--no-write", default=True, help="Write the figures into docs/reliability.md.")
def main(recordings: int, megabytes: float, share: float, seed: int, write: bool) -> None:
    """Run, compare, print, and write the figures down."""
    outcome = measure(Plan(recordings, megabytes, share, seed))
    found = outcome.differences + failings(outcome)
    text = table(outcome)
    click.echo(text)
    for words in found[:DIFFERENCES_SHOWN]:
        click.echo(f"DIFFERENCE {words}", err=True)
    if found:
        click.echo(f"{len(found)} differences: see above", err=True)
        raise SystemExit(1)
    if write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(START)
        PAGE.write_text(f"{before}{START}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def measure(plan: Plan) -> Outcome:
    """Run a plan to its end, and compare."""
    with _sandbox(plan) as (ready, moved, peak), tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        truth: list[Row] = _ask(ready, "truth")["recordings"]
        clock = Clock(ANCHOR, moved)
        chosen: dict[str, object] = {name.lower(): value for name, value in ready["env"].items()}
        chosen |= {"archive_root": folder, "archive_start_date": ready["window"]["first"], "media_stall_seconds": STALL_SECONDS}
        settings = load_settings(None, **chosen)
        archive = Archive(settings, open_storage(settings.archive_root), clock.runtime())
        ledger = Ledger(archive.storage)
        rounds = Rounds(archive, clock, date.fromisoformat(settings.archive_start_date))
        started = time.perf_counter()

        def is_finished() -> bool:
            left = unsettled(ledger, truth)
            waiting = ", ".join(sorted({f"{row['provider']} {row['scenario']}" for row in left})[:WAITING_SHOWN])
            at = f"round {rounds.done} at {clock.now():%d %H:%M}, {time.perf_counter() - started:.0f} s"
            click.echo(f"{at}: {len(left):,} to come ({waiting})" if left else f"{at}: all has come", err=True)
            return not left

        rounds.run(is_finished, MOST_ROUNDS)
        archive.close()
        worked = time.perf_counter() - started
        found = differences(ledger, Path(folder), truth)
        states = Counter(states_of(ledger).values())
        return Outcome(
            plan=plan,
            states=states,
            archivable=sum(row["final_states"] == [ARCHIVED] for row in truth),
            differences=found,
            requests=_ask(ready, "requests"),
            stored=sum(
                path.stat().st_size
                for path in Path(folder, "recordings").rglob("*.*")
                if path.is_file() and path.suffix != ".json"
            ),
            rounds=rounds.done,
            broken_reads=rounds.broken_reads,
            clock_hours=clock.monotonic() / 3600,
            seconds=(worked, time.perf_counter() - started - worked),
            memory=(_peak_memory(), peak()),
        )


def failings(outcome: Outcome) -> list[str]:
    """Return in words where the world was not as hostile as it should have been: then the rest proves nothing."""
    calls, failed = totals(outcome.requests)
    share, ways = sum(failed.values()) / max(1, calls), len(failed)
    found: list[str] = []
    if abs(share - outcome.plan.share) > SHARE_TOLERANCE:
        found.append(f"{share:.1%} of all calls failed, and {outcome.plan.share:.1%} should have")
    if outcome.plan.share and ways < LEAST_WAYS:
        found.append(f"calls failed in {ways} ways, and {LEAST_WAYS} were wanted")
    return found


def totals(requests: dict[str, Any]) -> tuple[int, Counter[str]]:
    """Return how many calls of all parties might have failed, and how many failed in each way."""
    failed: Counter[str] = Counter()
    for counts in requests["chaos"].values():
        failed.update(counts["failed"])
    return sum(counts["calls"] for counts in requests["chaos"].values()), failed


def table(outcome: Outcome) -> str:
    """Return the figures as Markdown."""
    calls, failed = totals(outcome.requests)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    states = ", ".join(f"{count:,} {state}" for state, count in outcome.states.most_common())
    ways = ", ".join(f"{way} {count:,}" for way, count in failed.most_common())
    endpoints = outcome.requests["endpoints"]
    asked: Counter[str] = Counter()
    for party, found in endpoints.items():
        for endpoint, answers in found.items():
            asked["media" if party == "media" else endpoint] += sum(answers.values())
    api = sum(asked.values()) - asked["media"]
    rows = outcome.requests["recordings"]
    fetched = sum(row["media_bytes"] for row in rows)
    ratio = fetched / max(1, outcome.stored)
    told = f"{asked['recording']:,} for links, {asked['get']:,} to tell a missing one apart, {asked['list']:,} list pages"
    lines = [
        f"`{outcome.plan.command}` ({machine}):",
        "",
        "| what | figure |",
        "|---|---|",
        f"| recordings, by state in the end | {states} |",
        f"| that can be archived | {outcome.archivable:,}: {_verdict(outcome)} |",
        f"| calls, of which failed | {calls:,}, of which {sum(failed.values()):,} ({sum(failed.values()) / calls:.1%}) |",
        f"| failed in {len(failed)} ways | {ways} |",
        f"| API requests | {api:,}: {told} |",
        f"| requests for links, for each recording | {_spread([row['link_asks'] for row in rows])} |",
        f"| links issued, for each recording | {_spread([row['links_issued'] for row in rows if row['links_issued']])} |",
        f"| media GETs, for each recording | {_spread([row['media_gets'] for row in rows if row['media_gets']])} |",
        f"| bytes sent, bytes stored | {fetched / 1e6:,.1f} MB, {outcome.stored / 1e6:,.1f} MB ({ratio:.3f} times) |",
        f"| walks of a list that broke | {outcome.broken_reads} |",
        f"| rounds of schedule and sensors | {outcome.rounds}, over {outcome.clock_hours:.1f} hours of the shared clock |",
        f"| seconds | {outcome.seconds[0]:.0f}, and {outcome.seconds[1]:.0f} to compare with the truth |",
        f"| most memory | {outcome.memory[0]} MiB (the sandbox beside it: {outcome.memory[1]} MiB) |",
    ]
    return "\n".join(lines)


def _verdict(outcome: Outcome) -> str:
    wrong = len(outcome.differences)
    return f"{wrong:,} differences from the truth" if wrong else "100 % archived, every SHA-256 right, read back from disk"


def _spread(counts: Sequence[int]) -> str:
    ordered = sorted(counts)
    at_95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return f"mean {statistics.mean(ordered):.2f}, median {statistics.median(ordered):g}, p95 {at_95}, most {ordered[-1]}"


def _ask(ready: dict[str, Any], what: str) -> dict[str, Any]:
    answer = httpx.get(f"{ready['api_origin']}/_sandbox/{what}", timeout=600, trust_env=False)
    return json.loads(answer.content)


def _peak_memory() -> int:
    """Return the most MiB that this process ever had."""
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024  # KiB on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


@contextmanager
def _sandbox(plan: Plan) -> Iterator[tuple[dict[str, Any], Moved, Any]]:
    """Run a sandbox as a process; give what its ready file says, the clock that it reads, and a question for its memory."""
    context = multiprocessing.get_context("spawn")
    moved: Moved = context.Value("d", 0.0, lock=False)
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(plan, moved, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        ready = ours.recv()

        def peak() -> int:
            ours.send("memory")
            return int(ours.recv())

        yield ready, moved, peak
    except EOFError:
        raise click.ClickException("the sandbox did not start") from None
    finally:
        ours.close()
        process.join()


def _serve(plan: Plan, moved: Moved, connection: Connection) -> None:
    """Be the sandbox until the other end of ``connection`` is closed."""
    options = WorldOptions(seed=plan.seed, recordings=plan.recordings, megabytes=plan.megabytes, anchor=ANCHOR)

    def now() -> datetime:
        return ANCHOR + timedelta(seconds=moved.value)

    with running_sandbox(options, faults=[f"chaos={plan.share}/{plan.seed}"], clock=now) as sandbox:
        connection.send(sandbox.ready_facts())
        try:
            while connection.recv():
                connection.send(_peak_memory())
        except EOFError:
            return


if __name__ == "__main__":
    main()
