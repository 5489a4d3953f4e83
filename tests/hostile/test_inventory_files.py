"""Session inventories that are not what they seem: each costs one problem, and the sessions beside it are kept."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.errors import InventoryError, SettingsError
from resources.model import ExecutionRecord
from resources.providers import inventory
from resources.providers.inventory import checked_locations, read_sessions
from resources.providers.protocol import Problem
from tests.hostile.memory import run_limited

GOOD = "id,started_at\ngood,2026-11-20T10:00:00Z\n"


def read(folder: Path) -> tuple[list[str], list[Problem]]:
    """Return the ids of a folder's sessions, and its problems."""
    items = list(read_sessions([str(folder)]))
    return [item.execution_id for item in items if isinstance(item, ExecutionRecord)], [
        i for i in items if isinstance(i, Problem)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good file, which sorts last."""
    made = tmp_path / "sessions"
    made.mkdir()
    (made / "z-good.csv").write_text(GOOD)
    return made


def test_pipes_and_devices_are_not_read(folder: Path) -> None:
    """A FIFO would wait for ever and /dev/zero never ends: neither is opened, and a link to a plain file still is."""
    os.mkfifo(folder / "a.csv")
    (folder / "b.jsonl").symlink_to("/dev/zero")
    (folder / "c.jsonl").symlink_to("/dev/urandom")
    (folder / "d.csv").symlink_to(folder / "z-good.csv")
    (folder / "e.csv").symlink_to(folder / "nowhere")
    ids, problems = read(folder)
    assert ids == ["good", "good"]
    told = {Path(problem.where).name: problem.what for problem in problems}
    assert all("no plain file" in told[name] for name in ("a.csv", "b.jsonl", "c.jsonl"))


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/stdin", "/dev/full"])
def test_a_device_as_the_inventory(device: str) -> None:
    """Named by the setting itself, it is an error with the reason."""
    with pytest.raises(InventoryError, match="no plain file"):
        list(read_sessions([device]))


@pytest.mark.parametrize(
    "location", ["simplecache::x.csv", "filecache::s3://b/x", "zip://x.csv::/tmp/a.zip", "reference::x", "x.csv,a::b"]
)
def test_chained_addresses_are_refused(location: str) -> None:
    """A chain would let a file's name reach any protocol."""
    with pytest.raises(SettingsError, match="KATAVEN_SESSIONS"):
        checked_locations(location)


HUGE = 10_000_000


def _parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ["p1", "p2"], "started_at": ["2026-11-20", "2026-11-20"], **columns}), sink)
    return sink.getvalue()


def _bad_utf8() -> pa.Array:
    return pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"\xff\xfeb"))


FILES: dict[str, tuple[str, bytes, set[str]]] = {
    "a cell of 10 million": ("a.csv", b"id,started_at,n\nx,2026-11-20," + b"y" * HUGE + b"\nok,2026-11-20,1\n", {"ok"}),
    "a header of 10 million": ("a.csv", b"id," + b"y" * HUGE + b"\nok,2026-11-20\n", set()),
    "an open quote": ("a.csv", b'id,started_at\nok,2026-11-20\n"x' + b"y\n" * 100_000, {"ok"}),
    "10 million cells": ("a.csv", b"id,started_at\nok,2026-11-20\n" + b"x," * HUGE + b"\nok2,2026-11-20\n", {"ok", "ok2"}),
    "NUL bytes": ("a.csv", b"id,started_at\nok,2026-11-20\n\0\0\0,\0\n", {"ok"}),
    "an endless JSON line": ("a.jsonl", b'{"id":"' + b"y" * HUGE + b'"}\n{"id":"ok","started_at":"2026-11-20"}\n', {"ok"}),
    "deep JSON": ("a.jsonl", b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b'}\n{"id":"ok","started_at":"2026-11-20"}', {"ok"}),
    "huge numbers": ("a.jsonl", b'{"id":%s,"started_at":1e999}\n{"id":"ok","started_at":"2026-11-20"}' % (b"9" * 5000), {"ok"}),
    "NaN": ("a.jsonl", b'{"id":"x","started_at":NaN}\n{"id":"ok","started_at":"2026-11-20"}', {"ok"}),
    "years beyond all calendars": ("a.parquet", _parquet(x=pa.array([2**62, -(2**62)], pa.timestamp("us"))), {"p1", "p2"}),
    "a zone that nobody knows": ("a.parquet", _parquet(x=pa.array([1, 2], pa.timestamp("us", "Foo/Bar"))), {"p1", "p2"}),
    "dates beyond all calendars": ("a.parquet", _parquet(x=pa.array([2**31 - 1, -(2**31)], pa.date32())), {"p1", "p2"}),
    "durations beyond all clocks": ("a.parquet", _parquet(x=pa.array([2**62, -2], pa.duration("s"))), {"p1", "p2"}),
    "text that is no UTF-8": ("a.parquet", _parquet(x=_bad_utf8()), {"p1", "p2"}),
    "an id that is no UTF-8": ("a.parquet", _parquet(id=_bad_utf8()), {"b"}),
    "ids that are lists": ("a.parquet", _parquet(id=pa.array([["x"], ["y"]])), set()),
    "decimals, maps, bytes": (
        "a.parquet",
        _parquet(d=pa.array([None, None], pa.decimal256(9)), m=pa.array([[(b"\xff", 1)], []], pa.map_(pa.binary(), pa.int8()))),
        {"p1", "p2"},
    ),
    "a schema alone": ("a.parquet", b"PAR1" + b"\xff" * 100 + b"PAR1", set()),
    "gzip that is none": ("a.csv.gz", b"\x1f\x8b" + b"\xff" * 100, set()),
    "a picture": ("a.csv", b"\x89PNG\r\n\x1a\n" + os.urandom(100_000), set()),
}  # fmt: skip


@pytest.mark.parametrize("what", list(FILES))
def test_a_hostile_file_stops_no_other(folder: Path, what: str) -> None:
    """What can be read of it is read, what cannot is told with file and place, and the next file is read as always."""
    name, data, expected = FILES[what]
    (folder / name).write_bytes(data)
    ids, problems = read(folder)
    assert set(ids) == expected | {"good"}
    assert problems or "p1" in expected
    assert all(name in problem.where and len(problem.what) < 400 for problem in problems)


def test_a_formula_is_a_text(folder: Path) -> None:
    """What a spreadsheet would run is kept as it came: nothing here writes CSV, and JSON has no formulas."""
    (folder / "a.csv").write_text("id,started_at,agent_name\n=cmd|'/c calc'!A0,2026-11-20,@SUM(1+1)*cmd\n")
    record = next(item for item in read_sessions([str(folder)]) if isinstance(item, ExecutionRecord))
    assert record.execution_id == "=cmd|'/c calc'!A0"
    assert json.loads(record.raw)["agent_name"] == "@SUM(1+1)*cmd"


def test_endless_problems_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of something else does not fill the memory with problems: the first are told, the others counted."""
    monkeypatch.setattr(inventory, "FILE_MAX_PROBLEMS", 10)
    (folder / "a.csv").write_text("id,started_at\n" + "x,never\n" * 500)
    ids, problems = read(folder)
    assert ids == ["good"]
    assert len(problems) == 11
    assert "490 more rows" in problems[-1].what


def test_a_file_is_read_to_its_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gzip bomb of good rows ends at a bound, with what came before it."""
    monkeypatch.setattr(inventory, "FILE_MAX_BYTES", 300_000)
    (folder / "a.csv.gz").write_bytes(gzip.compress(b"id,started_at\n" + b"x,2026-11-20\n" * 200_000))
    ids, problems = read(folder)
    assert ids[-1] == "good"
    assert 1000 < len(ids) < 50_000
    assert "more than 300000 bytes" in problems[0].what


def test_a_bomb_of_one_line_needs_no_memory(folder: Path) -> None:
    """Half a gigabyte in a single packed line is skipped in pieces: the process may hold 100 MiB more than its imports."""
    with gzip.open(folder / "a.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"id,started_at\nok,2026-11-20\n")
        for _ in range(500):
            file.write(b"y" * 1_000_000)
    said = run_limited(
        "from resources.providers.inventory import read_sessions\n"
        "limit()\n"
        f"print([getattr(item, 'execution_id', 'problem') for item in read_sessions([{str(folder)!r}])])\n",
        100,
    )
    assert said.strip() == "['ok', 'problem', 'good']"
