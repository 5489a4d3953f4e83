"""The executions lake: whole partitions, also when two runs write, or one dies."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from assets.executions import lake
from resources.storage import ArchiveStorage, open_storage
from tests.executions.specimen import DAY, NOON, SPEC, row


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """Return an empty root."""
    return open_storage(str(tmp_path / "root"))


def ids(storage: ArchiveStorage) -> list[str]:
    """Return the ids in the partition."""
    return lake.read_partition(storage, SPEC, DAY)["execution_id"].to_pylist()


def test_what_is_written_is_read(storage: ArchiveStorage) -> None:
    """A partition comes back sorted, under its schema; an unwritten one is empty."""
    assert ids(storage) == []
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="b"), row(execution_id="a", status="done")])
    assert ids(storage) == ["a", "b"]
    assert lake.partitions(storage, SPEC.name) == [DAY]


def test_two_writers_of_one_partition_lose_nothing(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that both started from the same files: both their rows are read, and the next write joins them."""
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="a")])
    stale = lake._files(storage, SPEC.name, DAY)
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="b")])
    with monkeypatch.context() as patch:
        patch.setattr(lake, "_files", lambda *_: stale)
        lake.write_partition(storage, SPEC, DAY, [row(NOON + timedelta(hours=1), execution_id="a", status="done")])
    assert ids(storage) == ["a", "b"]
    table = lake.write_partition(storage, SPEC, DAY, [row(execution_id="c")])
    assert table["execution_id"].to_pylist() == ids(storage) == ["a", "b", "c"]
    assert table["status"].to_pylist()[0] == "done"


def test_a_slow_writer_after_a_join_loses_nothing(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that comes with the oldest knowledge of all is still merged."""
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="a")])
    stale = lake._files(storage, SPEC.name, DAY)
    for name in "bcd":
        lake.write_partition(storage, SPEC, DAY, [row(execution_id=name)])
    with monkeypatch.context() as patch:
        patch.setattr(lake, "_files", lambda *_: stale)
        lake.write_partition(storage, SPEC, DAY, [row(execution_id="z")])
    assert ids(storage) == ["a", "b", "c", "d", "z"]


def test_old_files_go_and_the_one_before_stays(storage: ArchiveStorage) -> None:
    """A reader that has just listed the partition still finds its file; the folder does not grow for ever."""
    for number in range(6):
        before = {info.path for info in storage.list(lake.FOLDER)}
        lake.write_partition(storage, SPEC, DAY, [row(execution_id=str(number))])
        after = {info.path for info in storage.list(lake.FOLDER)}
        assert len(after) <= 2
        assert len(before & after) == min(number, 1)


def test_a_file_of_an_older_spec_is_decoded_again(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the spec learns a field, what was read before shows it too: the raw JSON has it."""
    with monkeypatch.context() as patch:
        patch.setattr(lake, "fingerprint", lambda _: "older")
        lake.write_partition(storage, SPEC, DAY, [row(count=7)])
    table = lake.read_partition(storage, SPEC, DAY)
    assert table["count"].to_pylist() == [7]
