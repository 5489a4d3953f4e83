"""Metadata in, beside dlt: the same pages, the rows that each of the two writes for a second of CPU time, as a ratio.

``python -m benchmarks.ingest`` prints it (``make .venv/.bench`` installs dlt). Ours is all of ``ingest``: from the bytes of a
page to the Parquet file in the archive, redaction, merge and drift included. dlt's side is its cheapest way to one row for each
object: ``max_table_nesting=0``, Parquet, its own filesystem destination, everything else as it comes. Each run has a process of
its own, the two in turn. Then what both wrote is compared cell by cell: speed that changes a value is none.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from assets.executions import lake
from assets.executions.ingest import ingest
from assets.executions.schema import BAD, EXTRA, RAW, lake_column
from resources.model import ExecutionRecord, Leg, Link, Window
from resources.providers.asteroid import SPEC
from resources.providers.listing import PAGE_SIZE, read_items
from resources.providers.moments import moment_of
from resources.providers.protocol import Page, Provider
from resources.redaction import redact_json
from resources.storage import open_storage

PROJECT = Path(__file__).resolve().parents[1]
DAY = date(2026, 11, 20)
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
ROWS = 100_000
DAY_ROWS = 20_000
"""Executions a day. Each side gets all days in one run, as a backfill does."""
DRIFT_EVERY = 50
"""Every so many rows have a number with a fraction where the spec has an integer, a new word, and an unknown field."""
SIDES = ("ours", "dlt")
_COMPARED = ("dlt", "pyarrow", "msgspec", "duckdb")
_WARM_UP_ROWS = 2_000


def measure(rounds: int = 5, rows: int = ROWS) -> dict[str, Any]:
    """Run both sides in turn and compare what they wrote.

    Args:
        rounds: how often; medians count.
        rows: executions a run.

    Returns:
        Medians and all values of rows per CPU-second, the median of the rounds' ratios, rows, cells compared, versions: as JSON
        takes them.

    Raises:
        click.ClickException: dlt is not installed, a side failed, or a cell differs.
    """
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    cells = 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
            for side in SIDES:
                speeds[side].append(rows / _run(side, Path(folder, side), rows))
            if number == 0:
                cells = compare(Path(folder, "ours"), Path(folder, "dlt"), rows)
    ratios = [ours / theirs for ours, theirs in zip(speeds["ours"], speeds["dlt"], strict=True)]
    return {
        "rows": rows,
        "rounds": rounds,
        "rows_per_cpu_second": {side: round(statistics.median(values)) for side, values in speeds.items()},
        "all": {side: [round(value) for value in values] for side, values in speeds.items()},
        "ratio": round(statistics.median(ratios), 2),
        "cells_compared": cells,
        "versions": {name: version(name) for name in ("dlt", "pyarrow", "msgspec", "duckdb")}
        | {"python": platform.python_version()},
    }


def pages(rows: int) -> dict[date, list[bytes]]:
    """Return the pages of Asteroid's list for ``rows`` executions, by day; about 1.3 kB an execution, with drift in them."""
    found: dict[date, list[bytes]] = {}
    for first in range(0, rows, DAY_ROWS):
        items = [_item(number) for number in range(first, min(first + DAY_ROWS, rows))]
        found[DAY + timedelta(days=first // DAY_ROWS)] = [
            json.dumps({"items": items[start : start + PAGE_SIZE], "total": len(items)}, separators=(",", ":")).encode()
            for start in range(0, len(items), PAGE_SIZE)
        ]
    return found


def _item(number: int) -> dict[str, object]:
    ident, agent = str(UUID(int=2**120 + number)), str(UUID(int=2**119 + number % 40))
    created_at = MIDNIGHT + timedelta(days=number // DAY_ROWS, seconds=4 * (number % DAY_ROWS), milliseconds=123)
    signature = sha256(ident.encode()).hexdigest()
    drifts = number % DRIFT_EVERY == DRIFT_EVERY - 1
    return {
        "id": ident,
        "agentId": agent,
        "agentName": f"Invoice bot {number % 40}",
        "workflowId": agent,
        "workflowVersionId": str(UUID(int=2**118 + number % 90)),
        "workflowVersion": 1.5 if drifts else number % 9,
        "status": "hibernating" if drifts else "completed",
        "createdAt": _text(created_at),
        "startedAt": _text(created_at + timedelta(seconds=2.5)),
        "terminalAt": _text(created_at + timedelta(seconds=600 + number % 100)),
        "organizationId": str(UUID(int=2**117)),
        "humanLabels": [{"id": agent, "name": "good", "color": "#ffffff"}],
        "comments": [{"id": ident, "content": f"hello {number} " * 5, "createdAt": _text(created_at), "public": True}],
        "hasBeenRerun": number % 7 == 0,
        "duration": 600.25 + number % 100,
        "executionOptions": {"sharedStorageKey": "k"},
        "executionResult": {
            "outcome": "success",
            "reasoning": f"because {number} " * 9,
            "result": {"a": number, "b": ["x", "y"]},
        },
        "inputs": {"name": f"Foo {number}", "url": f"https://shop.example/item/{number}?page=1"},
        "metadata": {"tenant": f"t{number % 5}"},
        "recordingUrl": f"https://media.example/{ident}.mp4?X-Amz-Date=20261120T000000Z&X-Amz-Signature={signature}",
        "triggerContext": {"source": "api", "runner": "u"},
    } | ({"colour": {"r": number}, "shade": "dark"} if drifts else {})


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _run(side: str, folder: Path, rows: int) -> float:
    """Return the CPU seconds of one run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--side", side, "--folder", str(folder), "--rows", str(rows)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S603 -- our own module
    if done.returncode:
        tail = done.stderr.strip()[-2000:]
        msg = f"{side} failed; dlt is installed by `make .venv/.bench`\n{tail}"
        raise click.ClickException(msg)
    return float(done.stdout.splitlines()[-1])


class _ListPage(msgspec.Struct):
    items: list[msgspec.Raw]


class _Pages(Provider):
    """A provider whose pages have come, and have not been looked into."""

    name: str = SPEC.name
    base_url: str = "https://asteroid.invalid"

    def __init__(self, days: Mapping[date, list[bytes]]) -> None:
        self._days = days

    def find(self, window: Window) -> Iterator[Page]:
        """Yield them all, read as the real client reads them; a day that has been read is told of, as it does."""
        for day, bodies in self._days.items():
            for body in bodies:
                yield Page(read_items(msgspec.json.decode(body, type=_ListPage).items, "a page").records)
            yield Page((), done=Window(window.start, Window.of_days(day, day).end))

    def get(self, execution_id: str) -> ExecutionRecord:
        """Not asked here."""
        raise NotImplementedError

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Not asked here."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to close."""


def _ours(days: Mapping[date, list[bytes]], folder: Path) -> None:
    storage = open_storage(str(folder))
    report = ingest(_Pages(days), SPEC, storage, list(days), now=MIDNIGHT, before_write=lambda _day, _expected: None)
    if report.error is not None:
        raise report.error


def _dlt(days: Mapping[date, list[bytes]], folder: Path) -> None:
    import dlt  # noqa: PLC0415 -- installed for this benchmark only
    from dlt.common.json import json as dlt_json  # noqa: PLC0415

    def executions() -> Iterator[list[dict[str, Any]]]:
        for body in chain.from_iterable(days.values()):
            yield dlt_json.loadb(body)["items"]

    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "lake").as_uri()),
        dataset_name="asteroid",
    )
    resource = dlt.resource(executions, name="executions", max_table_nesting=0)
    pipeline.run(resource, loader_file_format="parquet").raise_on_failed_jobs()


def compare(ours: Path, theirs: Path, rows: int) -> int:
    """Compare what both wrote, row by row and field by field, and return how many cells that were.

    Ours is compared with dlt's value with its credentials removed; dlt's JSON text with our column, and with our raw JSON.

    Raises:
        click.ClickException: a row is missing, or a cell differs.
    """
    storage = open_storage(str(ours))
    tables = [lake.read_partition(storage, SPEC, day) for day in lake.partitions(storage, SPEC.name)]
    mine = {row["execution_id"]: row for table in tables for row in table.to_pylist()}
    files = sorted((theirs / "lake" / "asteroid" / "executions").rglob("*.parquet"))
    others = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    if len(mine) != rows or {row["id"] for row in others} != mine.keys() or len(others) != rows:
        msg = f"{rows} rows were sent, ours has {len(mine)}, dlt's {len(others)}"
        raise click.ClickException(msg)
    cells = 0
    for other in others:
        cells += _compare_row(mine[other["id"]], other)
    return cells


def _compare_row(mine: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    raw = json.loads(mine[RAW])
    bad = json.loads(mine[BAD]) if mine[BAD] else {}
    extra = json.loads(mine[EXTRA]) if mine[EXTRA] else {}
    fields = {field.name: field for field in SPEC.fields}
    # A value that does not fit the type that dlt saw first goes to a column of its own beside it.
    sent: dict[str, Any] = {}
    for column, value in other.items():
        if value is not None and not column.startswith("_dlt_"):
            sent[column.partition("__v_")[0]] = value
    for name in (*fields, *extra):
        field = fields.get(name)
        nested = isinstance(raw.get(name), dict | list)
        theirs = _sent(name, sent.pop(name if field is None else field.column, None), nested=nested)
        ours = extra[name] if field is None else bad.get(name, mine[lake_column(field)])
        if field is not None and field.json and ours is not None:
            ours = json.loads(ours)
        if not _same(ours, theirs, None if field is None else field.type) or (nested and theirs != raw[name]):
            _refuse(mine, name, ours, theirs)
    if sent:
        _refuse(mine, ", ".join(sorted(sent)), None, "a column of dlt's alone")
    return len(fields) + len(extra)


def _sent(name: str, value: object, *, nested: bool) -> Any:  # noqa: ANN401 -- JSON
    """Return dlt's value as JSON, without the credentials that ours does not keep."""
    if value is None:
        return None
    if isinstance(value, str):
        value = json.loads(value) if nested else json.loads(redact_json(json.dumps({name: value}).encode()))[name]
    return json.loads(redact_json(json.dumps(value).encode())) if nested else value


def _same(mine: Any, sent: Any, kind: pa.DataType | None) -> bool:  # noqa: ANN401 -- JSON
    if mine is None or sent is None:
        return mine is None and sent is None
    if isinstance(kind, pa.StructType):
        return all(_same(mine[entry.name], sent.get(entry.name), entry.type) for entry in kind)
    if isinstance(kind, pa.ListType):
        return len(mine) == len(sent) and all(_same(one, other, kind.value_type) for one, other in zip(mine, sent, strict=True))
    if isinstance(mine, datetime):
        return mine == moment_of(sent)
    return mine == sent and isinstance(mine, bool) == isinstance(sent, bool)


def _refuse(mine: Mapping[str, Any], name: str, value: object, sent: object) -> None:
    msg = f"{mine['execution_id']}, {name}: ours has {value!r}, dlt's {sent!r}"
    raise click.ClickException(msg)


def _cpu_seconds() -> float:
    """Return the CPU time of this process, its threads and its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds; medians count.")
@click.option("--rows", default=ROWS, show_default=True, help="Executions a round.")
@click.option("--side", type=click.Choice(SIDES), hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(rounds: int, rows: int, side: str | None, folder: Path | None) -> None:
    """Measure and print."""
    if side is None or folder is None:
        click.echo(json.dumps(measure(rounds, rows), indent=2))
        return
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    work = {"ours": _ours, "dlt": _dlt}[side]
    work(pages(_WARM_UP_ROWS), folder / "warm-up")
    days = pages(rows)
    begun, started = _cpu_seconds(), time.process_time()
    work(days, folder)
    click.echo(str(max(_cpu_seconds() - begun, time.process_time() - started)))


if __name__ == "__main__":
    main()
