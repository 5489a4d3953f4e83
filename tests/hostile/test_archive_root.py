"""What others may have put into the archive root: it is left alone, or named; it is never followed, believed or swept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.executions import lake
from assets.executions.ingest import ExpectedRecording
from assets.executions.reads import last_reads, note_reads
from assets.recordings.compaction import compact
from assets.recordings.discovery import discover
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from resources.errors import SettingsError, StorageError
from resources.model import Leg
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage

DAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
TAIL = "lake/recording_tail/provider=feather"
LEDGER = "lake/ledger/provider=feather"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The archive's folder; beside it lies something of somebody else's."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("not ours")
    return tmp_path / "archive"


@pytest.fixture
def storage(root: Path) -> ArchiveStorage:
    """An archive with one recording in its ledger."""
    made = open_storage(str(root))
    discover_one(made, "e1")
    return made


def discover_one(storage: ArchiveStorage, name: str) -> None:
    """Tell the ledger of a recording."""
    expected = [ExpectedRecording(name, Leg.MAIN, terminal=True, ended_at=NOW, purged_at=None)]
    discover(Ledger(storage), "feather", DAY, expected, run_id="t", now=NOW, policy=Policy())


@pytest.mark.parametrize("ask", ["read", "open", "info", "exists", "write", "create", "create_from", "delete", "list"])
@pytest.mark.parametrize("kind", ["folder", "file", "pipe"])
def test_no_link_of_the_root_is_followed(storage: ArchiveStorage, root: Path, kind: str, ask: str) -> None:
    """A link that leads out of the archive, and a pipe in it, are refused by name; what is outside is left alone."""
    outside = root.parent / "outside"
    (root / "recordings").mkdir()
    if kind == "folder":
        (root / "recordings" / "x").symlink_to(outside)
        path = "recordings/x/secret.txt"
    elif kind == "file":
        (root / "recordings" / "x").symlink_to(outside / "secret.txt")
        path = "recordings/x"
    else:
        os.mkfifo(root / "recordings" / "x")
        path = "recordings/x"
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: storage.read(path),
        "open": lambda: storage.open(path),
        "info": lambda: storage.info(path),
        "exists": lambda: storage.exists(path),
        "write": lambda: storage.write(path, b"x"),
        "create": lambda: storage.create(path, b"x"),
        "create_from": lambda: storage.create_from(path, iter([b"x"])),
        "delete": lambda: storage.delete(path),
        "list": lambda: list(storage.list("recordings/x")),
    }
    with pytest.raises(StorageError, match=r"recordings/x is a symbolic link, a pipe or a device"):
        calls[ask]()
    assert [info.path for info in storage.list("recordings")] == []
    assert (outside / "secret.txt").read_text() == "not ours"
    assert len(list(outside.iterdir())) == 1


def test_a_loop_of_links_ends(storage: ArchiveStorage, root: Path) -> None:
    """Links that lead round and round, twice in each folder, do not make a listing endless."""
    (root / "recordings").mkdir()
    for name in ("a", "b", "c"):
        (root / "recordings" / name).symlink_to(root)
    assert [info.path for info in storage.list() if info.path.startswith("recordings")] == []


def test_a_temporary_folder_that_leads_elsewhere_is_not_swept(storage: ArchiveStorage, root: Path) -> None:
    """With .tmp a link, nothing there is removed and nothing is written through it."""
    for path in (root / ".tmp").iterdir():
        path.unlink()
    (root / ".tmp").rmdir()
    (root / ".tmp").symlink_to(root.parent / "outside")
    with pytest.raises(StorageError, match=r"\.tmp is a symbolic link"):
        storage.sweep()
    with pytest.raises(StorageError, match=r"\.tmp is a symbolic link"):
        storage.write("x", b"x")
    assert (root.parent / "outside" / "secret.txt").read_text() == "not ours"


def _table(columns: dict[str, object]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


FOREIGN = {
    "no Parquet at all": b"<html>not found</html>",
    "a cut file": _table({"provider": ["feather"]})[:-20],
    "a damaged footer": b"PAR1" + b"\xff" * 200 + b"\x40\0\0\0PAR1",
    "other columns": _table({"x": [1]}),
    "columns of other types": _table({"provider": [1.5], "date": ["no day"], "execution_id": [[1]], "seq": ["x"]}),
    "moments beyond all calendars": _table({"provider": ["feather"], "at": pa.array([2**62], pa.timestamp("us", "UTC"))}),
    "a column of nothing": _table({"provider": pa.nulls(1), "execution_id": pa.nulls(1)}),
    "a thousand columns": _table({f"c{number}": [number] for number in range(1000)}),
    "nothing": b"",
}


@pytest.mark.parametrize("what", list(FOREIGN))
def test_a_foreign_file_among_the_events_is_named(storage: ArchiveStorage, what: str) -> None:
    """It is refused with its path and the remedy, in few words; nothing is guessed, and another provider's ledger reads on."""
    storage.create(f"{TAIL}/2026-11-20_foreign.parquet", FOREIGN[what])
    ledger = Ledger(storage)
    for ask in (lambda: ledger.read_day("feather", DAY), lambda: ledger.read_open("feather"), lambda: ledger.fold("feather")):
        with pytest.raises(StorageError, match=r"foreign\.parquet .* is damaged .*move it away") as caught:
            ask()
        assert len(str(caught.value)) < 700
    assert Ledger(storage).read_open("asteroid") == {}
    storage.delete(f"{TAIL}/2026-11-20_foreign.parquet")
    assert len(Ledger(storage).read_open("feather")) == 1


@pytest.mark.parametrize(
    "folder", ["date=9999-99-99", "date=2026-02-30", "date=../..", "date=2026-11-20 ", "date=2026-11-20/x", "provider=x"]
)
def test_a_folder_that_only_looks_like_a_day_is_left_alone(storage: ArchiveStorage, root: Path, folder: str) -> None:
    """Files of somebody's in folders that are no day of ours are not read, neither as events nor as executions."""
    if ".." not in folder:
        for base, name in (
            ("recording_events", "x.parquet"),
            ("recording_tail", "x.parquet"),
            ("executions", "000001-0123456789ab.parquet"),
        ):
            place = root / "lake" / base / "provider=feather" / folder
            place.mkdir(parents=True)
            (place / name).write_bytes(b"not ours")
    assert Ledger(storage).days("feather") == [DAY]
    assert len(Ledger(storage).read_open("feather")) == 1
    assert lake.partitions(storage, "feather") == []


def _snapshot(**parts: object) -> str:
    """Return a snapshot of number 1 with some of its parts changed."""
    stem = f"{LEDGER}/0000000001-{'0' * 32}"
    return json.dumps({"generation": 1, "days": f"{stem}.days.json", "open": f"{stem}.open.parquet", **parts})


SNAPSHOTS = {
    "outside": _snapshot(days="../../etc/passwd"),
    "absolute": _snapshot(open="/etc/passwd"),
    "climbing": _snapshot(days=f"{LEDGER}/../../../0000000001-{'0' * 32}.days.json"),
    "another provider": _snapshot(days=f"lake/ledger/provider=kataven/0000000001-{'0' * 32}.days.json"),
    "an object of another kind": _snapshot(open=f"{TAIL}/2026-11-20_x.parquet"),
    "a URL": _snapshot(open="https://evil.example/x"),
    "a recording on its way out": _snapshot(
        leaving=[{"path": "recordings/x/main.mp4", "generation": 1, "since": "2026-11-20T00:00:00Z"}]
    ),
    "a recording as an event file": _snapshot(folded=["recordings/x/main.mp4"]),
    "an index elsewhere": _snapshot(ids=[{"path": "recordings/x/main.mp4", "rows": 1}]),
    "another number": _snapshot(generation=2),
    "other types": '{"generation":"x","days":1,"open":[],"folded":{}}',
    "no JSON": "<html>",
    "deep": "[" * 10_000,
    "nothing": "",
}


@pytest.mark.parametrize("what", list(SNAPSHOTS))
def test_a_snapshot_that_leads_elsewhere_is_named(storage: ArchiveStorage, what: str) -> None:
    """One that names no files of a fold is refused with its own path and the remedy; nothing is followed, and nothing removed."""
    path = f"{LEDGER}/snapshots/0000000001.json"
    storage.write("recordings/x/main.mp4", b"the only copy")
    storage.write(path, SNAPSHOTS[what].encode())
    ledger = Ledger(storage)
    for ask in (
        lambda: ledger.read_open("feather"),
        lambda: ledger.fold("feather"),
        lambda: compact(ledger, "feather", grace=timedelta(0), shown=None),
    ):
        with pytest.raises(StorageError, match=r"snapshots/0000000001\.json .* is damaged"):
            ask()
    assert storage.exists("recordings/x/main.mp4")
    storage.delete(path)
    assert len(Ledger(storage).read_open("feather")) == 1, "moved away, the state is made again from the events"


DAYS = {
    "a state elsewhere": {"state": "recordings/x/main.mp4"},
    "a history elsewhere": {"history": "../../etc/passwd"},
    "no state": {"state": 7},
}


@pytest.mark.parametrize("what", list(DAYS))
def test_a_list_of_days_that_leads_elsewhere_is_named(storage: ArchiveStorage, what: str) -> None:
    """As for the snapshot itself."""
    ledger = Ledger(storage)
    ledger.fold("feather")
    snapshot = ledger.snapshot("feather")
    assert snapshot is not None
    (day,) = json.loads(storage.read(snapshot.days))
    storage.write(snapshot.days, json.dumps([day | DAYS[what]]).encode())
    with pytest.raises(StorageError, match=r"days\.json .* is damaged"):
        Ledger(storage).read_day("feather", DAY)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"x":1}', '{"2026-11-20":"never"}', "[" * 10_000, "<html>", '{"9999-99-99":0}']
)
def test_damaged_notes_of_reads_heal(storage: ArchiveStorage, text: str) -> None:
    """When each day was last read is knowledge that can be had again: damaged notes count as none, and are written anew."""
    storage.write("lake/executions_read/provider=feather.json", text.encode())
    assert last_reads(storage, "feather") == {}
    note_reads(storage, "feather", [DAY], NOW)
    assert last_reads(storage, "feather") == {DAY: NOW}


@pytest.mark.parametrize("what", list(FOREIGN))
def test_a_foreign_file_among_the_executions_is_named(storage: ArchiveStorage, what: str) -> None:
    """A file with a name of ours and other contents is refused with its path and the remedy."""
    path = f"{lake.partition_folder('feather', DAY)}/000001-0123456789ab.parquet"
    storage.create(path, FOREIGN[what])
    with pytest.raises(StorageError, match=r"000001-0123456789ab\.parquet is damaged"):
        lake.read_partition(storage, PROVIDERS["feather"], DAY)


@pytest.mark.parametrize(
    "url",
    ["simplecache::s3://b/p", "filecache::/tmp/x", "blockcache::s3://b", "zip://x::/tmp/a.zip", "reference::x", "reference://x", "zip://a.zip",
     "tar://a.tar", "http://h/x", "https://h/x", "data://x", "s3://", "s3://u:p@b/x", "s3://u@b/x", "s3://b/x?y", "s3://b/x#y",
     "github://o:r@/", "git://x", "nosuch://x", "file://host/x", "\x00", "  ", "cached::x", "dask::x", "::", "a::b::c"],
)  # fmt: skip
def test_a_root_that_is_no_storage_is_refused(url: str) -> None:
    """Chains, archives in files, read-only protocols and addresses with passwords are wrong settings, named without secrets."""
    with pytest.raises(SettingsError, match="ARCHIVE_ROOT") as caught:
        open_storage(url)
    assert "u:p" not in str(caught.value)
