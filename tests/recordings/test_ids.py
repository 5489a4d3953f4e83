"""The id index: on which days an execution is, without a look at the days."""

from __future__ import annotations

import random
import string
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.recordings.ledger import ids
from assets.recordings.ledger.ids import PAIRS, Segment, days_of, grown
from resources.errors import StorageError
from resources.storage import ArchiveStorage, open_storage

FIRST = date(2025, 1, 1)
Pairs = list[tuple[str, date]]


def table(pairs: Iterable[tuple[str, date]]) -> pa.Table:
    """Return pairs as a fold hands them over."""
    names, days = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((), ())
    return pa.table({"execution_id": names, "date": days}, schema=PAIRS)


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """Return an empty root."""
    return open_storage(str(tmp_path / "root"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let segments, row groups and merges be so small that few pairs go through all of them."""
    monkeypatch.setattr(ids, "SEGMENT_ROWS", 2_000)
    monkeypatch.setattr(ids, "_SMALLEST_ROWS", 16)
    monkeypatch.setattr(ids, "_ROW_GROUP_ROWS", 8)


def days(*numbers: int) -> list[date]:
    """Return days by their number."""
    return [FIRST + timedelta(days=number) for number in numbers]


def test_an_unknown_id_is_on_no_day(storage: ArchiveStorage) -> None:
    """Neither an empty index nor one of others knows it, whatever characters it has."""
    assert days_of(storage, (), "a") == []
    segments = grown(storage, "feather", 1, (), table([("b", FIRST)]))
    for name in ("a", "c", "", "\ud800", "b\x00"):
        assert days_of(storage, segments, name) == []


def test_nothing_new_changes_nothing(storage: ArchiveStorage) -> None:
    """Without pairs the segments stay, and no file is written."""
    segments = grown(storage, "feather", 1, (), table([("b", FIRST)]))
    before = [info.path for info in storage.list()]
    assert grown(storage, "feather", 2, segments, table([])) == segments
    assert [info.path for info in storage.list()] == before


@pytest.mark.usefixtures("small")
def test_every_id_is_found_after_many_merges(storage: ArchiveStorage) -> None:
    """Batches of all sizes: each id has its days, there are few segments, and each is sorted and within its limit."""
    generator = random.Random(7)  # noqa: S311 -- not a secret
    truth: dict[str, set[date]] = {}
    segments: tuple[Segment, ...] = ()
    for generation in range(60):
        batch: Pairs = [
            ("".join(generator.choices(string.ascii_letters + "é~𝄞", k=3)), FIRST + timedelta(days=generator.randrange(9)))
            for _ in range(generator.choice((1, 3, 20, 200)))
        ]
        segments = grown(storage, "feather", generation, segments, table(batch))
        for name, day in batch:
            truth.setdefault(name, set()).add(day)
    assert len(segments) < 25
    for segment in segments:
        rows = pq.read_table(pa.BufferReader(storage.read(segment.path))).to_pylist()
        assert len(rows) == segment.rows <= 2_000
        assert [row["execution_id"].encode() for row in rows] == sorted(row["execution_id"].encode() for row in rows)
    for name in generator.sample(sorted(truth), 300):
        assert days_of(storage, segments, name) == sorted(truth[name])


@pytest.mark.usefixtures("small")
def test_an_index_that_has_grown_since_leaves_the_former_one_readable(storage: ArchiveStorage) -> None:
    """No file is changed or removed by a merge: who holds the former segments finds what they had."""
    history: list[tuple[Segment, ...]] = [()]
    for number in range(40):
        history.append(grown(storage, "feather", number, history[-1], table([(f"id-{number:02d}", FIRST)])))
    for count, segments in enumerate(history):
        found = [number for number in range(40) if days_of(storage, segments, f"id-{number:02d}")]
        assert found == list(range(count))


@pytest.mark.usefixtures("small")
@settings(max_examples=20, deadline=None)
@given(batches=st.lists(st.lists(st.tuples(st.text("ab", max_size=3), st.integers(0, 30)), max_size=40), max_size=8))
def test_it_is_the_union_of_what_was_added(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, int]]]
) -> None:
    """Repeated pairs, one id on many days over several row groups, ids that begin like others: the index is the union."""
    storage = open_storage(str(tmp_path_factory.mktemp("root")))
    segments: tuple[Segment, ...] = ()
    for generation, batch in enumerate(batches):
        segments = grown(storage, "feather", generation, segments, table((name, *days(day)) for name, day in batch))
    known = {pair for batch in batches for pair in batch}
    for name in {name for name, _ in known} | {"aaaa"}:
        assert days_of(storage, segments, name) == days(*sorted(day for other, day in known if other == name))


def test_a_look_up_reads_one_row_group_of_a_segment(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows a segment has, one of its row groups is read."""
    segments = grown(storage, "feather", 1, (), table((f"{number:06d}", FIRST) for number in range(50_000)))
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counting(self: pq.ParquetFile, i: int, **options: object) -> pa.Table:
        read.append(i)
        return original(self, i, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    for number in (0, 4_095, 4_096, 4_097, 31_000, 49_999):
        read.clear()
        assert days_of(storage, segments, f"{number:06d}") == [FIRST]
        assert len(read) <= 2, "one, and its neighbour at an edge"


def test_ids_that_are_too_long_for_a_footer_are_found(storage: ArchiveStorage) -> None:
    """A footer holds no statistics of values beyond some thousand bytes; they are found all the same."""
    long = [(f"{letter * 5_000}{number}", FIRST) for letter in "ab" for number in range(3)]
    segments = grown(storage, "feather", 1, (), table([*long, ("c", FIRST)]))
    assert [days_of(storage, segments, name) for name, _ in long] == [[FIRST]] * 6


def test_a_damaged_segment_is_named(storage: ArchiveStorage) -> None:
    """Something else under a segment's name is an error that says where and what to do."""
    (segment,) = grown(storage, "feather", 1, (), table([("a", FIRST)]))
    storage.write(segment.path, b"no Parquet")
    with pytest.raises(StorageError, match=segment.path):
        days_of(storage, [segment], "a")
