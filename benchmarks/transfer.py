"""The transfer beside ``rclone copyurl``: the same files from the same server, in turn, medians, as a ratio.

``python -m benchmarks.transfer`` prints the table, and writes it into docs/performance.md. Ours asks for each link, hashes,
verifies, fsyncs and publishes atomically; rclone gets its links for nothing and copies without a hash. A ratio above 1 means that
ours took less time.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

from resources.archive import Archive
from resources.errors import Subject
from resources.model import Leg
from resources.settings import load_settings
from resources.storage import open_storage

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "performance.md"
PROVIDER = "feather"
START, END = "<!-- transfer: written by `make bench` -->", "<!-- /transfer -->"


@dataclass(frozen=True, slots=True)
class Case:
    """One set of files: how many in the sandbox's world, and their least total size in MiB."""

    name: str
    recordings: int
    megabytes: int


CASES = (Case("some large", 60, 1500), Case("many small", 6000, 60))


@dataclass(frozen=True, slots=True)
class Result:
    """What a case gave: files, bytes, the seconds of each round for both, and the median of the rounds' ratios."""

    case: Case
    files: int
    bytes: int
    ours: list[float]
    peer: list[float]

    @property
    def ratio(self) -> float:
        """Peer's seconds over ours, the median of the rounds."""
        return statistics.median(peer / ours for ours, peer in zip(self.ours, self.peer, strict=True))


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; the median counts.")
@click.option("--threads", default=6, show_default=True, help="Transfers at once, on both sides.")
@click.option("--write/--no-write", default=True, help="Write the table into docs/performance.md.")
def main(rounds: int, threads: int, write: bool) -> None:
    """Measure, print, and write the table down."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if rclone is None:
        raise click.ClickException("rclone is missing: it comes with the development dependencies (`make bench`)")
    results = [measure(case, rclone, rounds, threads) for case in CASES]
    text = table(results, rounds, threads, rclone)
    click.echo(text)
    if write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(START)
        PAGE.write_text(f"{before}{START}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def measure(case: Case, rclone: str, rounds: int, threads: int) -> Result:
    """Run both sides in turn, ``rounds`` times, after one round of each that does not count."""
    ours: list[float] = []
    peer: list[float] = []
    with _sandbox(case) as ready, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        truth = httpx.get(f"{ready['api_origin']}/_sandbox/truth", timeout=120, trust_env=False).json()
        rows = [row for row in truth["recordings"] if row["provider"] == PROVIDER and row["final_state"] == "archived"]
        size = sum(row["length"] for row in rows)
        settings = load_settings(None, **{name.lower(): value for name, value in ready["env"].items()})
        for number in range(rounds + 1):
            target = Path(folder) / str(number)
            seconds = [
                _timed(lambda target=target: _ours(Archive(settings, open_storage(f"{target}/ours")), rows, threads)),
                _peer(Archive(settings, open_storage(f"{target}/links")), rclone, rows, target, threads),
            ]
            for side in ("ours", "peer"):
                stored = sum(path.stat().st_size for path in (target / side).rglob("*") if path.is_file())
                if stored != size:
                    msg = f"{side} stored {stored} bytes of {size}: no comparison"
                    raise click.ClickException(msg)
            shutil.rmtree(target)
            if number:
                ours.append(seconds[0])
                peer.append(seconds[1])
    return Result(case, len(rows), size, ours, peer)


def table(results: list[Result], rounds: int, threads: int, rclone: str) -> str:
    """Return the results as Markdown."""
    version = subprocess.run([rclone, "version"], capture_output=True, text=True, check=True).stdout.split()[1]  # noqa: S603
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    how = f"rclone {version}; loopback, {threads} transfers at once, {rounds} interleaved rounds, medians."
    heads = ["| files | bytes | ours, s | rclone copyurl, s | ratio |", "|---|---|---|---|---|"]
    lines = [f"{machine}, {how}", "", *heads]
    lines += [
        f"| {result.files:,} ({result.case.name}) | {result.bytes / 1e6:,.0f} MB | {statistics.median(result.ours):.2f} "
        f"| {statistics.median(result.peer):.2f} | {result.ratio:.2f} |"
        for result in results
    ]
    return "\n".join(lines)


def _ours(archive: Archive, rows: list[dict[str, Any]], threads: int) -> None:
    provider = archive.provider(PROVIDER)

    def one(row: dict[str, Any]) -> None:
        link = provider.link(row["execution_id"], Leg(row["leg"]))
        subject = Subject(PROVIDER, row["execution_id"], row["leg"])
        with archive.media.fetch(subject, link) as body:
            archive.storage.create_from(f"{row['execution_id']}/{row['leg']}.{body.detected.extension}", body.chunks())

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, rows))
    archive.close()


def _peer(archive: Archive, rclone: str, rows: list[dict[str, Any]], target: Path, threads: int) -> float:
    """Return the seconds of rclone alone: its links are asked for before the clock starts."""
    provider = archive.provider(PROVIDER)
    target.mkdir(parents=True, exist_ok=True)
    listed = target / "urls.csv"
    with listed.open("w", newline="") as stream:
        writer = csv.writer(stream)
        for row in rows:
            writer.writerow([provider.link(row["execution_id"], Leg(row["leg"])).url, f"{row['execution_id']}/{row['leg']}"])
    archive.close()
    command = [
        rclone,
        "copyurl",
        "--urls",
        str(listed),
        str(target / "peer"),
        "--transfers",
        str(threads),
        "--config",
        os.devnull,
    ]
    return _timed(lambda: subprocess.run(command, check=True, capture_output=True))  # noqa: S603 -- our own arguments


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def _sandbox(case: Case) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bench-sandbox-") as folder:
        ready = Path(folder) / "ready.json"
        options = ["--calm", "--recordings", str(case.recordings), "--megabytes", str(case.megabytes), "--ready-file", str(ready)]
        command = [sys.executable, "-m", "sandbox", *options, "--exit-with-parent", "--link-seconds", f"{PROVIDER}=3600"]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL) as process:  # noqa: S603 -- our own module
            try:
                while not ready.exists():
                    if process.poll() is not None:
                        raise click.ClickException("the sandbox did not start")
                    time.sleep(0.05)
                yield json.loads(ready.read_text())
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
