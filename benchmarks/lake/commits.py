"""Commits: how long one takes, and what four processes reach together while others read and fold."""

from __future__ import annotations

import gc
import hashlib
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier
from uuid import uuid4

from assets.recordings import names
from assets.recordings.events import Copy, Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Life, Outcome, State
from benchmarks.lake.report import Line, interleaved, milliseconds
from benchmarks.world.plan import LAST_DAY, NOW
from resources.model import Leg, RecordingKey
from resources.storage import open_storage

EVENTS = 100
"""In one commit."""
_PROVIDER = "feather"
_WRITERS = 4
_READY_PER_SECOND = 100
_READY_SECONDS = 120.0
"""Within which all processes have to be up."""
_FOLD_SECONDS = 2.0
_GROUP = "commit of 100 events"


@dataclass(frozen=True, slots=True)
class _Written:
    """What one writer did: commits, and errors in words."""

    commits: int
    errors: tuple[str, ...]


def hundred(moment: datetime, run_id: str) -> list[Event]:
    """Return a commit's events, as a run writes them: copies for three quarters, "not ready" for the others."""
    return [_event(number, moment, run_id) for number in range(EVENTS)]


def _event(number: int, moment: datetime, run_id: str) -> Event:
    key = RecordingKey(_PROVIDER, str(uuid4()), Leg.MAIN)
    base, is_archived = "https://prod.featherhq.com", number % 4 > 0
    life = Life(
        state=State.ARCHIVED if is_archived else State.NOT_READY,
        attempts=2,
        next_attempt_at=None if is_archived else moment + timedelta(minutes=number),
        eligible_since=moment,
        trying_since=moment,
        ended_at=moment,
    )
    copy = Copy(
        path=f"{names.recording_folder(_PROVIDER, LAST_DAY, key.execution_id)}/main.mp3",
        bytes=123_456 + number,
        sha256=hashlib.sha256(key.execution_id.encode()).hexdigest(),
        content_type="audio/mpeg",
        sidecar_sha256=hashlib.sha256(uuid4().bytes).hexdigest(),
        media_seconds=12.5,
        archived_at=moment,
    )
    return Event(
        key=key,
        day=LAST_DAY,
        event_id=uuid4().hex,
        seq=3,
        at=moment,
        run_id=run_id,
        outcome=Outcome.ARCHIVED if is_archived else Outcome.NOT_READY,
        life=life,
        http_status=200 if is_archived else 409,
        api_base=base,
        proved_base=base,
        seconds=1.25,
        copy=copy if is_archived else None,
        expected_seconds=12.5,
    )


def one_writer(folder: Path, rounds: int) -> list[Line]:
    """Time one writer, in turn with what the disk alone takes for as many bytes made to last under a new name."""
    ledger, run_id = Ledger(open_storage(str(folder / "ledger"))), uuid4().hex
    commits = iter([hundred(NOW, run_id) for _ in range(rounds + 1)])
    bare = folder / "bare"
    bare.mkdir(parents=True)
    data = os.urandom(36_000)  # about the size of such a file
    seconds = interleaved(
        rounds, {"commit": lambda: ledger.append(next(commits), NOW), "bare": lambda: _lasting(bare / uuid4().hex, data)}
    )
    ordered = sorted(seconds["commit"])
    return [
        Line(_GROUP, "one writer, median", milliseconds(seconds["commit"]), "ms", 3.0, note="fsync included"),
        Line(_GROUP, "one writer, 95th percentile", ordered[int(len(ordered) * 0.95)] * 1000, "ms"),
        Line(_GROUP, "the disk alone: write, fsync, rename, fsync of the folder, median", milliseconds(seconds["bare"]), "ms"),
    ]


def _lasting(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def four_writers(folder: Path, rounds: int, seconds: float) -> list[Line]:
    """Let four processes write as fast as they can, while a fifth reads all the time and this one folds now and then."""
    speeds: list[float] = []
    errors: list[str] = []
    reads, lost = 0, 0
    for number in range(rounds):
        root = str(folder / str(number))
        context = get_context("spawn")
        with context.Manager() as manager, ProcessPoolExecutor(_WRITERS + 1, mp_context=context) as pool:
            together = manager.Barrier(_WRITERS + 2)
            reading = pool.submit(_read, root, together, seconds)
            writing = [pool.submit(_write, root, together, seconds) for _ in range(_WRITERS)]
            _fold(root, together, seconds)
            written = [future.result() for future in writing]
            found, failures = reading.result()
        commits = sum(each.commits for each in written)
        speeds.append(commits / seconds)
        errors += [*failures, *(words for each in written for words in each.errors)]
        lost += commits * EVENTS - Ledger(open_storage(root)).events_table(_PROVIDER).num_rows
        reads += found
    how = f"{rounds} rounds of {seconds:g} s beside a reader and folds"
    return [
        Line(_GROUP, "four writers, median", statistics.median(speeds), "commits/s", 200.0, at_least=True, note=how),
        Line(
            _GROUP,
            "four writers, errors of writers and readers",
            len(errors),
            "",
            0.0,
            note=errors[0] if errors else f"{reads} reads",
        ),
        Line(_GROUP, "four writers, events written and not read back", lost, "", 0.0),
    ]


def _write(root: str, together: Barrier, seconds: float) -> _Written:
    ledger, run_id = Ledger(open_storage(root)), uuid4().hex
    errors: list[str] = []
    commits = 0
    ready = iter([hundred(NOW, run_id) for _ in range(int(seconds * _READY_PER_SECOND))])  # making them is no part of a commit
    gc.freeze()
    end = _begun(together) + seconds
    while time.monotonic() < end:
        try:
            ledger.append(next(ready, None) or hundred(NOW, run_id), NOW)
            commits += 1
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is counted
            errors.append(repr(error))
    return _Written(commits, tuple(errors))


def _read(root: str, together: Barrier, seconds: float) -> tuple[int, list[str]]:
    """Read the open recordings again and again: they only grow. Return the number of reads, and what went wrong."""
    ledger, known, reads = Ledger(open_storage(root)), 0, 0
    errors: list[str] = []
    end = _begun(together) + seconds
    while time.monotonic() < end:
        try:
            found = len(ledger.open_table(_PROVIDER, ["execution_id"]))
            if found < known:
                errors.append(f"{found} open recordings after {known}")
            known, reads = found, reads + 1
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is counted
            errors.append(repr(error))
    return reads, errors


def _fold(root: str, together: Barrier, seconds: float) -> None:
    ledger = Ledger(open_storage(root))
    end = _begun(together) + seconds
    while time.monotonic() + _FOLD_SECONDS < end:
        time.sleep(_FOLD_SECONDS)
        ledger.fold(_PROVIDER)


def _begun(together: Barrier) -> float:
    """Wait until all processes are ready, and return when that was."""
    together.wait(_READY_SECONDS)
    return time.monotonic()
