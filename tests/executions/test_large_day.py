"""A day of many executions: merged in slices, with the same outcome, in memory that does not grow with the day."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from assets.executions import lake, sorting
from assets.executions.intake import Row
from resources.storage import ArchiveStorage, open_storage
from tests.executions.specimen import DAY, NOON, SPEC, row

ROOT = Path(__file__).resolve().parents[2]


def reading(rows: int, folder: Path) -> dict[str, float]:
    """Return what a process of its own took for a day of ``rows``."""
    command = [sys.executable, "-m", "tests.executions.large_day", str(rows), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603 -- ours
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_day(tmp_path: Path) -> None:
    """Ten times the executions take nothing like ten times the memory, when they are first read and when they are read again."""
    small, large = reading(3_000, tmp_path / "a"), reading(30_000, tmp_path / "b")
    assert large["mebibytes"] < 2 * small["mebibytes"] + 16
    assert large["most_told_at_once"] <= 2 * small["most_told_at_once"]


@pytest.fixture
def in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge a few rows at a time, and keep nothing in memory."""
    monkeypatch.setattr(sorting, "SLICE_BYTES", 2_000)
    monkeypatch.setattr(sorting, "_SPOOL_BYTES", 0)
    monkeypatch.setattr(lake, "ROW_GROUP_ROWS", 3)


READ = st.dictionaries(st.integers(0, 12), st.tuples(st.sampled_from(["x", "y", ""]), st.integers(0, 3)), max_size=12)


def rows_of(read: dict[int, tuple[str, int]], hour: int) -> list[Row]:
    """Return the rows of one read; an id may come at another time of the day than before."""
    seen = NOON + timedelta(hours=hour)
    return [
        replace(
            row(seen, execution_id=f"e{number}", status=word, count=1.5 if minute == 3 else minute),
            created_at=NOON + timedelta(minutes=minute),
        )
        for number, (word, minute) in read.items()
    ]


@settings(max_examples=25, deadline=None)
@given(reads=st.lists(READ, min_size=1, max_size=3))
def test_slices_change_nothing(reads: list[dict[int, tuple[str, int]]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """However a day is cut up on the way, each write gives the same table, sorted by creation."""
    folder = tmp_path_factory.mktemp("roots")
    whole, cut = open_storage(str(folder / "whole")), open_storage(str(folder / "cut"))
    for hour, read in enumerate(reads):
        rows = rows_of(read, hour)
        expected = lake.write_partition(whole, SPEC, DAY, rows)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sorting, "SLICE_BYTES", 2_000)
            patch.setattr(sorting, "_SPOOL_BYTES", 0)
            patch.setattr(lake, "ROW_GROUP_ROWS", 3)
            assert lake.write_partition(cut, SPEC, DAY, rows).equals(expected)
        keys = list(zip(expected["created_at"].to_pylist(), expected["execution_id"].to_pylist(), strict=True))
        assert keys == sorted(keys)


@pytest.mark.usefixtures("in_slices")
def test_one_file_in_row_groups(tmp_path: Path) -> None:
    """A partition stays one file, whose row groups are bounded, also where two runs had written and their files are joined."""
    storage = open_storage(str(tmp_path / "root"))
    stale = lake.former(storage, SPEC, DAY)
    lake.write_partition(storage, SPEC, DAY, [row(execution_id=f"a{number:02d}", note="x" * 400) for number in range(10)])
    lake.write_partition(storage, SPEC, DAY, [row(execution_id=f"b{number:02d}", note="x" * 400) for number in range(10)], stale)
    assert lake.read_partition(storage, SPEC, DAY).num_rows == 20
    assert len(lake.partition_files(storage, SPEC.name)[DAY]) == 2
    lake.write_partition(storage, SPEC, DAY, [])
    (meta,) = files_of(storage)
    assert [meta.row_group(number).num_rows for number in range(meta.num_row_groups)] == [3, 3, 3, 3, 3, 3, 2]


def files_of(storage: ArchiveStorage) -> list[pq.FileMetaData]:
    """Return the metadata of the current files."""
    paths = lake.partition_files(storage, SPEC.name)[DAY]
    return [pq.ParquetFile(io.BytesIO(storage.read(path))).metadata for path in paths]
