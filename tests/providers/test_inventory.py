"""The session inventory: every format, every spelling, and lines that are wrong."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import InventoryError
from resources.model import ExecutionRecord
from resources.providers.inventory import LINE_MAX_BYTES, read_sessions
from resources.providers.protocol import Problem

CSV = "session_id,started_at,status,room\ns1,2026-11-20T10:00:00Z,done,4\ns2,2026-11-20 11:00:00,,\n"
JSONL = (
    '{"session_id":"s1","started_at":"2026-11-20T10:00:00Z","status":"done","room":"4"}\n'
    '{"session_id":"s2","started_at":"2026-11-20 11:00:00"}\n'
)


def read(*locations: Path | str) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Return the documents of an inventory by session, and its problems."""
    documents: dict[str, dict[str, object]] = {}
    problems: list[str] = []
    for item in read_sessions([str(location) for location in locations]):
        if isinstance(item, Problem):
            problems.append(f"{item.where}: {item.what}")
        else:
            documents.setdefault(item.execution_id, json.loads(item.raw))
    return documents, problems


def only(text: str, path: Path) -> ExecutionRecord | Problem:
    """Return the one row of an inventory in JSON Lines."""
    path.write_text(text + "\n")
    (item,) = read_sessions([str(path)])
    return item


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz", "s.jsonl", "s.ndjson", "s.json", "s.jsonl.gz", "S.CSV", "s.parquet"])
def test_every_format_gives_the_same_sessions(tmp_path: Path, name: str) -> None:
    """CSV, JSON Lines and Parquet, the text ones also with gzip, hold the same rows."""
    path = tmp_path / name
    if name.endswith("parquet"):
        rows = [{"session_id": "s2", "started_at": "2026-11-20 11:00:00"}, *map(json.loads, JSONL.splitlines()[:1])]
        pq.write_table(
            pa.Table.from_pylist(
                rows, schema=pa.schema([(n, pa.string()) for n in ("session_id", "started_at", "status", "room")])
            ),
            path,
        )
    else:
        text = (CSV if ".csv" in name.lower() else JSONL).encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)

    documents, problems = read(path)

    assert problems == []
    assert documents == {
        "s1": {"room": "4", "session_id": "s1", "started_at": "2026-11-20T10:00:00Z", "status": "done"},
        "s2": {"session_id": "s2", "started_at": "2026-11-20T11:00:00Z"},
    }


@pytest.mark.parametrize("key", ["session_id", "sessionId", "id", "SESSION_ID", "Id"])
@pytest.mark.parametrize("start", ["started_at", "startedAt", "created_at", "createdAt", "start_time", "timestamp"])
def test_columns_in_each_spelling(tmp_path: Path, key: str, start: str) -> None:
    """The id and the start are found under each name, and written under ours."""
    item = only(json.dumps({key: "s1", start: "2026-11-20T10:00:00Z"}), tmp_path / "s.jsonl")
    assert isinstance(item, ExecutionRecord)
    assert json.loads(item.raw) == {"session_id": "s1", "started_at": "2026-11-20T10:00:00Z"}


@pytest.mark.parametrize(
    "start",
    [
        '"2026-11-20T10:00:00Z"',
        '"2026-11-20T11:00:00+01:00"',
        '"2026-11-20T10:00:00"',
        '"2026-11-20 10:00:00.000000"',
        "1795168800",
        "1795168800.0",
        '"1795168800"',
        "1795168800000",
        '"1795168800000"',
    ],
)
def test_times_in_each_form(tmp_path: Path, start: str) -> None:
    """With a zone, without one (UTC), in epoch seconds or milliseconds, as number or text: the same moment."""
    item = only(f'{{"session_id":"s1","started_at":{start}}}', tmp_path / "s.jsonl")
    assert isinstance(item, ExecutionRecord)
    assert item.created_at == datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "start", ["null", '""', '"soon"', "true", "12", '"20261120"', "1e400", "-5", "{}", '"2026-13-45"', "99999999999999999999"]
)
def test_no_start_is_a_problem(tmp_path: Path, start: str) -> None:
    """What is not a time after 2000 is told, with the line."""
    item = only(f'{{"session_id":"s1","started_at":{start}}}', tmp_path / "s.jsonl")
    assert isinstance(item, Problem)
    assert item.where.endswith("s.jsonl:1")


@pytest.mark.parametrize("session", ["null", '""', '"  "', "true", "[]", "1.5"])
def test_no_id_is_a_problem(tmp_path: Path, session: str) -> None:
    """A row without a usable id is told."""
    item = only(f'{{"session_id":{session},"started_at":1795168800}}', tmp_path / "s.jsonl")
    assert isinstance(item, Problem)


def test_unknown_columns_stay_as_they_are(tmp_path: Path) -> None:
    """What we do not know is kept to the digit; what we know takes our type."""
    item = only(
        '{"id":7,"created_at":1795168800,"campaignId":12,"duration":"3.5","price":1.50,"nested":{"a":[1, 2]},"start_time":"x"}',
        tmp_path / "s.jsonl",
    )
    assert isinstance(item, ExecutionRecord)
    assert item.execution_id == "7"
    assert b'"price":1.50' in item.raw
    assert b'"nested":{"a":[1, 2]}' in item.raw
    assert json.loads(item.raw) == {
        "session_id": "7",
        "started_at": "2026-11-20T10:00:00Z",
        "campaign_id": "12",
        "duration_seconds": 3.5,
        "price": 1.5,
        "nested": {"a": [1, 2]},
        "start_time": "x",
    }


def test_bad_json_lines_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Broken JSON, lists, bytes that are not UTF-8 and endless lines cost one problem each."""
    good = b'{"session_id":"s1","started_at":1795168800}'
    lines = [
        b"\xef\xbb\xbf" + good,
        b"{broken",
        b"[1]",
        b'{"session_id":"\xff"}',
        b"",
        b"x" * (LINE_MAX_BYTES * 2),
        good.replace(b"s1", b"s2"),
    ]
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"\n".join(lines))

    documents, problems = read(path)

    assert list(documents) == ["s1", "s2"]
    assert [problem.split(": ")[0].rsplit(":")[-1] for problem in problems] == ["2", "3", "4", "6"]
    assert "one JSON object a line" in problems[1]


def test_bad_csv_lines_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Too many cells, no id, no time and a monstrous cell cost one problem each; short lines and blank ones none."""
    path = tmp_path / "s.csv"
    path.write_bytes(
        b"\xef\xbb\xbfsessionId,startedAt,note\n"
        b"s1,1795168800,\xff\n\n"
        b"s2,1795168800,a,b\n"
        b",1795168800,\n"
        b"s3,later,\n" + b"s4,1795168800," + b"x" * 200_000 + b"\n"
        b's5,1795168800,"a\nb"\n'
        b"s6,1795168800\n"
    )

    documents, problems = read(path)

    assert list(documents) == ["s1", "s5", "s6"]
    assert len(problems) == 4
    assert all(problem.startswith(f"{path}:") for problem in problems)


def test_parquet_types_become_json(tmp_path: Path) -> None:
    """Timestamps of any unit, with or without a zone, numbers, dates and bytes come through."""
    path = tmp_path / "s.parquet"
    table = pa.table(
        {
            "session_id": pa.array([1, 2], pa.int64()),
            "started_at": pa.array([1795168800000000001, None], pa.timestamp("ns")),
            "ended_at": pa.array([1795168860000, None], pa.timestamp("ms", "Europe/Berlin")),
            "day": pa.array([0, None], pa.date32()),
            "blob": pa.array([b"\x00", None], pa.binary()),
            "number": pa.array([float("nan"), None], pa.float64()),
        }
    )
    pq.write_table(table, path)

    documents, problems = read(path)

    assert documents["1"]["started_at"] == "2026-11-20T10:00:00Z"
    assert documents["1"]["ended_at"] == "2026-11-20T10:01:00Z"
    assert documents["1"]["day"] == "1970-01-01"
    assert problems == [f"{path}:row 2: no start time that is a time"]


def test_folders_and_globs_are_read_in_order(tmp_path: Path) -> None:
    """A folder takes its inventory files at any depth and leaves others; a glob takes what it matches; the first row wins."""
    (tmp_path / "2026" / "11").mkdir(parents=True)
    (tmp_path / "2026" / "11" / "a.csv").write_text("id,timestamp,status\ns1,1795168800,first\n")
    (tmp_path / "2026" / "b.jsonl").write_text('{"id":"s1","timestamp":1795168800,"status":"second"}\n')
    (tmp_path / "2026" / "notes.txt").write_text("no inventory")

    for location in (tmp_path, f"file://{tmp_path}", f"{tmp_path}/2026/**/*"):
        documents, problems = read(location)
        assert problems == []
        assert documents["s1"]["status"] == "first"
    assert read(f"{tmp_path}/2026/*.jsonl")[0]["s1"]["status"] == "second"


@pytest.mark.parametrize("name", ["nothing.csv", "empty", "*.parquet", "nosuch://bucket/x.csv"])
def test_nothing_there_names_the_setting(tmp_path: Path, name: str) -> None:
    """A path, a folder or a glob without an inventory, or an unknown protocol, is an error with the remedy."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InventoryError, match="KATAVEN_SESSIONS"):
        read(name if "://" in name else tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [("s.csv", b"name,day\nx,y\n"), ("s.parquet", b"PAR1 no"), ("s.jsonl.gz", b"not gzip"), ("s.csv.gz", b"\x1f\x8b broken")],
)
def test_unreadable_file_stops_only_itself(tmp_path: Path, name: str, content: bytes) -> None:
    """A file that cannot be read is a problem beside others, and an error when it is all there is."""
    bad = tmp_path / name
    bad.write_bytes(content)
    with pytest.raises(InventoryError, match=name):
        read(bad)
    good = tmp_path / "t.jsonl"
    good.write_text('{"id":"s1","timestamp":1795168800}\n')

    documents, problems = read(bad, good)

    assert list(documents) == ["s1"]
    assert len(problems) == 1
    assert name in problems[0]


def test_truncated_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    """A gzip file that breaks off gives its first rows and one problem."""
    lines = "".join(f'{{"id":"s{n}","timestamp":1795168800,"x":"{n * 7919}"}}\n' for n in range(5000))
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode())[:-2000])

    documents, problems = read(path)

    assert 0 < len(documents) < 5000
    assert len(problems) == 1
    assert "rest of the file" in problems[0]


@pytest.mark.parametrize(
    ("name", "head"), [("s.jsonl", b""), ("s.csv", b"id,timestamp\n"), ("s.parquet", b""), ("s.csv.gz", b"")]
)
@given(content=st.binary(max_size=300))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_is_a_crash(tmp_path: Path, name: str, head: bytes, content: bytes) -> None:
    """Whatever bytes a file holds, they become sessions, problems, or the error that nothing can be read."""
    path = tmp_path / name
    path.write_bytes(head + content)
    try:
        read(path)
    except InventoryError as error:
        told = str(error)
        assert "KATAVEN_SESSIONS" in told


def test_new_files_are_seen_by_a_process_that_lives_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that keeps its listings, as the object stores' ones do, is told to forget them each time."""
    kept: dict[str, list[str]] = {}
    find = MemoryFileSystem.find
    monkeypatch.setattr(MemoryFileSystem, "find", lambda fs, path: kept.setdefault(path, kept.get(path) or find(fs, path)))
    monkeypatch.setattr(MemoryFileSystem, "invalidate_cache", lambda _: kept.clear())
    fs = MemoryFileSystem()
    fs.pipe("/inventory/a.csv", b"id,timestamp\ns1,1795168800\n")
    assert list(read("memory://inventory")[0]) == ["s1"]
    fs.pipe("/inventory/b.csv", b"id,timestamp\ns2,1795168800\n")

    assert list(read("memory://inventory")[0]) == ["s1", "s2"]


def test_credentials_in_a_location_are_not_told(tmp_path: Path) -> None:
    """An address with a password in it is shown without."""
    with pytest.raises(InventoryError) as caught:
        read("nosuch://user:hunter2secret@host/x.csv")
    assert "hunter2secret" not in str(caught.value)
    assert tmp_path.exists()
