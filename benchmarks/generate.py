"""A lake of any size, as an archive would have made it over years: ``python -m benchmarks.generate --executions 10000000``.

Three providers, nested rows, five events and more for each recording, one recording in a hundred still open; copies have their
facts, and no bytes. Executions are decoded and written by the lake's own code; event files are encoded by the ledger's own chain,
then folded and compacted as in any archive. The same numbers and seed give the same rows.

A partition at a time, so memory does not grow with the lake. Killed and run again, it goes on where it was: a partition is done
when its executions are written, and before that its event file has one name that never changes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import click
import msgspec

from assets.executions import lake
from assets.executions.reads import note_reads
from assets.recordings import names
from assets.recordings.ledger import Ledger
from assets.recordings.ledger.chain import Chain
from assets.recordings.lifecycle import OPEN_STATES
from benchmarks.world.history import Events, events
from benchmarks.world.plan import NOW, Unit, units
from benchmarks.world.runs import runs
from resources.errors import AlreadyStoredError
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage

EXECUTIONS = 10_000_000
DAYS = 730
"""The size of the lake that ``docs/performance.md`` tells of."""

_PLAN = "generated.json"
_AT_ONCE = 120
"""Partitions between two folds: what the tail holds at most."""
_BYTES_PER_EXECUTION = 520
_BYTES_PER_EVENT = 80
_TAIL_BYTES_PER_EVENT = 420
_EVENTS_PER_EXECUTION = 5.2
_GIB = 1024**3
_FOLDER = click.Path(path_type=Path)
_Work = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Lake:
    """What a lake holds, by its own account.

    Attributes:
        executions, recordings, events: rows.
        open_recordings: of the recordings, those that are not in a terminal state.
    """

    executions: int
    recordings: int
    events: int
    open_recordings: int


@dataclass(frozen=True, slots=True)
class Made:
    """One partition that was made: its executions, and the peak memory of its process in bytes."""

    executions: int
    memory: int


class Plan(msgspec.Struct, frozen=True):
    """What a lake was made of; it stands in the root, so that nobody goes on with other numbers."""

    executions: int
    days: int
    seed: int

    @property
    def bytes_expected(self) -> int:
        """How many bytes the lake will have on disk."""
        return int(self.executions * (_BYTES_PER_EXECUTION + _EVENTS_PER_EXECUTION * _BYTES_PER_EVENT))

    @property
    def bytes_needed(self) -> int:
        """How many bytes it needs while it is made: the events of some days are there twice."""
        share = min(1.0, _AT_ONCE / (self.days * len(PROVIDERS)))
        return self.bytes_expected + int(self.executions * _EVENTS_PER_EXECUTION * _TAIL_BYTES_PER_EVENT * share)


@click.command()
@click.option("--executions", default=EXECUTIONS, show_default=True, help="How many, all providers together.")
@click.option("--root", default="bench-lake", show_default=True, type=_FOLDER, help="The folder of the archive.")
@click.option("--days", default=DAYS, show_default=True, help="Over how many days.")
@click.option("--seed", default=7, show_default=True, help="Names the rows: the same seed, the same rows.")
@click.option("--processes", default=2, show_default=True)
def main(executions: int, root: Path, days: int, seed: int, processes: int) -> None:
    """Make a lake, or go on with one that was begun."""
    begun, plan = time.monotonic(), Plan(executions, days, seed)
    root.mkdir(parents=True, exist_ok=True)
    used, free = _bytes_below(root), shutil.disk_usage(root).free
    click.echo(f"{plan.bytes_expected / _GIB:.1f} GiB expected, {plan.bytes_needed / _GIB:.1f} GiB while it is made", err=True)
    if free + used < plan.bytes_needed:
        msg = f"{root} has {free / _GIB:.1f} GiB free"
        raise click.ClickException(msg)
    memory = 0
    for count, made in enumerate(generate(root, plan, processes), start=1):
        memory = max(memory, made.memory)
        if count % _AT_ONCE == 0:
            click.echo(f"{count} partitions more, {time.monotonic() - begun:.0f} s", err=True)
    found = describe(open_storage(str(root)))
    memory = max(memory, _peak_memory())
    click.echo(
        f"{found.executions:,} executions, {found.recordings:,} recordings ({found.open_recordings:,} of them open), "
        f"{found.events:,} events; {_bytes_below(root) / _GIB:.2f} GiB"
    )
    click.echo(f"{time.monotonic() - begun:.0f} s; a process had at most {memory / _GIB:.2f} GiB of memory, of {processes + 1}")


def generate(root: Path, plan: Plan, processes: int = 1) -> Iterator[Made]:
    """Make the lake of ``plan`` in ``root``, as far as it is not there, and yield each partition that was made.

    Raises:
        click.ClickException: the root holds something else.
    """
    storage = open_storage(str(root))
    _claim(storage, plan)
    done = {(name, day) for name in PROVIDERS for day in lake.partitions(storage, name)}
    missing = [unit for unit in units(plan.executions, plan.days, plan.seed) if (unit.provider, unit.day) not in done]
    with _workers(processes) as work:
        for chosen in (missing[start : start + _AT_ONCE] for start in range(0, len(missing), _AT_ONCE)):
            yield from work(_make, [(root, unit) for unit in chosen])
            list(work(_settle, [(root, name) for name in PROVIDERS]))
        list(work(_settle, [(root, name) for name in PROVIDERS]))  # also where the last run was killed before it came to this
    for name in PROVIDERS:
        note_reads(storage, name, lake.partitions(storage, name), NOW)


@contextmanager
def _workers(processes: int) -> Generator[_Work]:
    """Yield what does a work for each of some arguments, in that many processes; one alone is this one."""
    if processes == 1:
        yield itertools.starmap
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_die_with_parent) as pool:
        yield lambda work, arguments: pool.map(work, *zip(*arguments, strict=True))


def _die_with_parent() -> None:
    """Nobody goes on when the command was killed: it may be running again."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None  # noqa: S101 -- this is a child
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def describe(storage: ArchiveStorage) -> Lake:
    """Count what a lake holds, from what it says of itself."""
    ledger = Ledger(storage)
    parts = [part for name in PROVIDERS for part in ledger.partitions(name).values()]
    plan = msgspec.json.decode(storage.read(_PLAN), type=Plan)
    return Lake(
        plan.executions,
        sum(part.recordings for part in parts),
        sum(part.events for part in parts),
        sum(part.states.get(state.value, 0) for part in parts for state in OPEN_STATES),
    )


def _claim(storage: ArchiveStorage, plan: Plan) -> None:
    try:
        storage.create(_PLAN, msgspec.json.encode(plan))
    except AlreadyStoredError:
        known = msgspec.json.decode(storage.read(_PLAN), type=Plan)
        if known != plan:
            msg = f"{storage.describe()} holds another lake: {known}"
            raise click.ClickException(msg) from None


def _make(root: Path, unit: Unit) -> Made:
    storage, made = open_storage(str(root)), list(runs(unit))
    # As a run does: the ledger knows a recording before the lake does.
    _append(storage, unit, events(unit, made))
    lake.write_partition(storage, PROVIDERS[unit.provider], unit.day, [run.row for run in made])
    return Made(len(made), _peak_memory())


def _append(storage: ArchiveStorage, unit: Unit, found: Events) -> None:
    name = hashlib.sha256(unit.name.encode()).hexdigest()[:32]
    path = f"{names.tail_folder(unit.provider)}/{unit.day}_{NOW:%Y%m%dT%H%M%S}.000000Z-{name[:8]}-{name}.parquet"
    try:
        storage.create(path, Chain(writer=name).encode(path, found.table, found.digests))
    except AlreadyStoredError:
        return


def _settle(root: Path, provider: str) -> None:
    """Fold, compact, and let go at once of what was replaced: nobody reads yet."""
    ledger = Ledger(open_storage(str(root)))
    ledger.fold(provider)
    ledger.pack(provider)
    ledger.pack_months(provider)
    ledger.retire(provider, grace=timedelta(0), shown=None, before_delete=_nothing)


def _nothing(paths: Collection[str]) -> None:
    """There are no manifests."""
    del paths


def _bytes_below(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
