"""The executions lake: whole partitions, also when two runs write, or one dies."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pytest

from assets.executions import lake
from assets.executions.former import Former
from assets.executions.intake import Row
from resources.errors import StorageError
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


def write_from(storage: ArchiveStorage, before: Former, item: Row) -> None:
    """Write as a run does that read the partition a while ago."""
    lake.write_partition(storage, SPEC, DAY, [item], before)


def test_two_writers_of_one_partition_lose_nothing(storage: ArchiveStorage) -> None:
    """Two runs that both started from the same files: both their rows are read, and the next write joins them."""
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="a")])
    stale = lake.former(storage, SPEC, DAY)
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="b")])
    write_from(storage, stale, row(NOON + timedelta(hours=1), execution_id="a", status="done"))
    assert ids(storage) == ["a", "b"]
    assert len(lake.partition_files(storage, SPEC.name)[DAY]) == 2
    table = lake.write_partition(storage, SPEC, DAY, [row(execution_id="c")])
    assert table["execution_id"].to_pylist() == ids(storage) == ["a", "b", "c"]
    assert table["status"].to_pylist()[0] == "done"
    assert len(lake.partition_files(storage, SPEC.name)[DAY]) == 1


def test_a_slow_writer_after_a_join_loses_nothing(storage: ArchiveStorage) -> None:
    """A run that comes with the oldest knowledge of all is still merged."""
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="a")])
    stale = lake.former(storage, SPEC, DAY)
    for name in "bcd":
        lake.write_partition(storage, SPEC, DAY, [row(execution_id=name)])
    write_from(storage, stale, row(execution_id="z"))
    assert ids(storage) == ["a", "b", "c", "d", "z"]


def test_writers_remove_nothing(storage: ArchiveStorage) -> None:
    """Whoever has just listed the partition finds every file, however many writes come in between."""
    for number in range(4):
        before = {info.path for info in storage.list(lake.FOLDER)}
        lake.write_partition(storage, SPEC, DAY, [row(execution_id=str(number))])
        assert before < {info.path for info in storage.list(lake.FOLDER)}
    assert len(lake.partition_files(storage, SPEC.name)[DAY]) == 1


def test_a_file_of_an_older_spec_is_decoded_again(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the spec learns a field, what was read before shows it too: the raw JSON has it."""
    with monkeypatch.context() as patch:
        patch.setattr(lake, "fingerprint", lambda _: "0" * 16)
        lake.write_partition(storage, SPEC, DAY, [row(count=7)])
    assert lake.read_partition(storage, SPEC, DAY)["count"].to_pylist() == [7]
    found = lake.former(storage, SPEC, DAY)
    found.close()
    assert not found.settled


def test_a_change_of_the_same_moment_is_not_lost(storage: ArchiveStorage) -> None:
    """Two reads that bear the same time: the one that is written later brings its values."""
    lake.write_partition(storage, SPEC, DAY, [row(status="running")])
    assert lake.write_partition(storage, SPEC, DAY, [row(status="done")])["status"].to_pylist() == ["done"]


def test_many_writers_and_readers_at_once(storage: ArchiveStorage) -> None:
    """Eight runs write one partition at the same time while others read it: no row is lost, no reader sees a day with holes."""
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="first")])

    def work(number: int) -> None:
        for turn in range(3):
            lake.write_partition(storage, SPEC, DAY, [row(execution_id=f"{number}-{turn}")])
            seen = ids(storage)
            assert {"first", *(f"{number}-{past}" for past in range(turn + 1))} <= set(seen)
            assert len(seen) == len(set(seen))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(ids(storage)) == 25
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="last")])
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="very last")])
    assert len(lake.partition_files(storage, SPEC.name)[DAY]) == 1
    assert len(ids(storage)) == 27


def test_a_run_that_dies_before_its_file_is_there_changes_nothing(
    storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file becomes visible in one step or not at all; until then the old one is the partition."""
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="a")])
    before = [info.path for info in storage.list()]

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "create_from", die)
        with pytest.raises(KeyboardInterrupt):
            lake.write_partition(storage, SPEC, DAY, [row(execution_id="b")])
    assert [info.path for info in storage.list()] == before
    assert ids(storage) == ["a"]


def test_a_reader_whose_file_goes_lists_again(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between listing and opening, a compaction may pass: the reader then takes what is there."""
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="a")])
    (first,) = lake.partition_files(storage, SPEC.name)[DAY]
    read, turns = storage.read, iter("bc")

    def slow_read(path: str) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "read", read)
            for name in turns:
                lake.write_partition(storage, SPEC, DAY, [row(execution_id=name)])
                storage.delete(first)
        return read(path)

    monkeypatch.setattr(storage, "read", slow_read)
    assert ids(storage) == ["a", "b", "c"]


def test_files_of_others_do_not_disturb(storage: ArchiveStorage) -> None:
    """A desktop's droppings and an analyst's own file are neither read nor removed."""
    lake.write_partition(storage, SPEC, DAY, [row()])
    folder = f"{lake.FOLDER}/provider={SPEC.name}"
    foreign = [f"{folder}/.DS_Store", f"{folder}/date=none/x.parquet", f"{lake.partition_folder(SPEC.name, DAY)}/mine.parquet"]
    for path in foreign:
        storage.write(path, b"not ours")
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="b")])
    assert lake.partitions(storage, SPEC.name) == [DAY]
    assert ids(storage) == ["a", "b"]
    assert all(storage.exists(path) for path in foreign)


def test_a_damaged_file_is_named(storage: ArchiveStorage) -> None:
    """A file that rotted says which one it is and what to do, instead of passing for an empty day."""
    lake.write_partition(storage, SPEC, DAY, [row()])
    (path,) = lake.partition_files(storage, SPEC.name)[DAY]
    storage.write(path, storage.read(path)[:100])
    with pytest.raises(StorageError, match="damaged") as caught:
        ids(storage)
    assert path in str(caught.value)


def test_the_current_files_change_with_the_rows(storage: ArchiveStorage) -> None:
    """One listing says which files are current, day by day; a rewritten day has another name there."""
    other = date(2026, 11, 21)
    lake.write_partition(storage, SPEC, DAY, [row()])
    lake.write_partition(storage, SPEC, other, [row()])
    before = lake.partition_files(storage, SPEC.name)
    lake.write_partition(storage, SPEC, DAY, [row(status="done")])
    after = lake.partition_files(storage, SPEC.name)
    assert before[other] == after[other]
    assert before[DAY] != after[DAY]
    assert [len(files) for files in after.values()] == [1, 1]


def test_unchanged_rows_keep_their_values_and_move_their_time(storage: ArchiveStorage) -> None:
    """Another row's news leave a row as it was, but for the time at which it was last seen."""
    first = lake.write_partition(storage, SPEC, DAY, [row(execution_id="a", count=1.5), row(execution_id="b")]).to_pylist()
    later = NOON + timedelta(hours=1)
    rows = [row(later, execution_id="a", count=1.5), row(later, execution_id="b", status="done")]
    after = lake.write_partition(storage, SPEC, DAY, rows).to_pylist()
    assert after[0] == {**first[0], "last_seen_at": later}
    assert (after[1]["status"], after[1]["first_seen_at"]) == ("done", NOON)
