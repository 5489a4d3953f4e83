"""The lake as DuckDB reads it through the archive's own client: by many threads, on one handle."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from assets.catalog.filesystem import ROOT, LakeFileSystem, mount
from resources.storage import open_storage

LETTERS = b"abcdefghijklmnopqrstuvwxyz"
FILE = "lake/letters.bin"


def letters(tmp_path: Path) -> io.RawIOBase:
    """Return an open file of the lake with the alphabet in it."""
    storage = open_storage(str(tmp_path))
    storage.write(FILE, LETTERS)
    opened = LakeFileSystem(storage).open(f"{ROOT}/{FILE}")
    assert isinstance(opened, io.RawIOBase)
    return opened


def test_a_thread_reads_where_it_went_whoever_else_goes_elsewhere_meanwhile(tmp_path: Path) -> None:
    """DuckDB goes to a place and reads there in two calls; between them other threads go to theirs, and read."""
    with letters(tmp_path) as file, ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        assert one.submit(file.seek, 3).result() == 3
        assert other.submit(file.seek, 20).result() == 20
        assert one.submit(file.tell).result() == 3
        assert one.submit(file.read, 4).result() == b"defg"
        assert one.submit(file.seek, 0).result() == 0
        assert other.submit(file.read, 3).result() == b"uvw"
        assert one.submit(file.read, 2).result() == b"ab"


def test_who_goes_nowhere_reads_on(tmp_path: Path) -> None:
    """Reading without going anywhere goes on behind the last reading, whichever thread that was in."""
    with letters(tmp_path) as file, ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        assert one.submit(file.read, 2).result() == b"ab"
        assert other.submit(file.read, 2).result() == b"cd"
        assert one.submit(file.seek, 0, io.SEEK_END).result() == len(LETTERS)
        assert other.submit(file.read, 2).result() == b"ef"
        assert one.submit(file.read, 2).result() == b""
        file.seek(-3, io.SEEK_END)
        file.seek(1, io.SEEK_CUR)
        assert file.read() == b"yz"


def test_many_threads_of_one_query_read_the_truth(tmp_path: Path) -> None:
    """Row groups of one file, read by eight threads at once: each answer is the same one."""
    rows = pa.table({"number": pa.array(range(40_000)), "text": pa.array([f"{n * 7919:012d}" * 3 for n in range(40_000)])})
    (tmp_path / "lake").mkdir()
    pq.write_table(rows, tmp_path / "lake" / "rows.parquet", row_group_size=500, use_dictionary=False)
    question = "SELECT count(*), count(DISTINCT text), sum(number), sum(hash(text)) FROM '{}/lake/rows.parquet'"
    with duckdb.connect() as plain:
        truth = plain.execute(question.format(tmp_path)).fetchall()
    with duckdb.connect() as connection:
        mount(connection, open_storage(str(tmp_path)))
        connection.execute("SET threads = 8")
        for _ in range(10):
            assert connection.execute(question.format(ROOT)).fetchall() == truth
