"""Metadata in: many days in one walk, late facts, broken walks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from assets.executions import lake
from assets.executions.ingest import ExpectedRecording, IngestReport, ingest
from resources.errors import BlockedError, Subject
from resources.storage import ArchiveStorage, open_storage
from tests.executions.specimen import DAY, NOON, SPEC, StubProvider

DAYS = [DAY - timedelta(days=2), DAY - timedelta(days=1), DAY]


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """Return an empty root."""
    return open_storage(str(tmp_path / "root"))


def item(execution_id: str, created: str, **fields: object) -> dict[str, object]:
    """Return one execution as the provider sends it."""
    return {"id": execution_id, "createdAt": created, "status": "done", **fields}


def read(provider: StubProvider, storage: ArchiveStorage, *, now: datetime = NOON, told: list[str] | None = None) -> IngestReport:
    """Read three days; note the order of telling and writing."""

    def before_write(day: date, expected: Sequence[ExpectedRecording]) -> None:
        if told is not None:
            told.append(f"{day} {len(expected)} recordings, {lake.read_partition(storage, SPEC, day).num_rows} rows")

    return ingest(provider, SPEC, storage, DAYS, now=now, before_write=before_write)


def test_one_walk_serves_all_days(storage: ArchiveStorage) -> None:
    """The provider is walked once, whatever the number of days, and each row lands in its own day."""
    provider = StubProvider([item(f"{day}-{n}", f"{day}T0{n}:00:00Z") for day in DAYS for n in range(3)])
    report = read(provider, storage)
    assert provider.walks == 1
    assert [(day.day, day.rows, day.new) for day in report.days] == [(day, 3, 3) for day in DAYS]


def test_rows_at_the_edges_of_a_day(storage: ArchiveStorage) -> None:
    """Midnight belongs to the day that it begins, in UTC, whatever the offset of the text."""
    provider = StubProvider(
        [item("a", "2026-11-20T00:00:00Z"), item("b", "2026-11-20T01:30:00+02:00"), item("c", "2026-11-20T23:59:59.999Z")]
    )
    read(provider, storage)
    assert lake.read_partition(storage, SPEC, DAY)["execution_id"].to_pylist() == ["a", "c"]
    assert lake.read_partition(storage, SPEC, DAYS[1])["execution_id"].to_pylist() == ["b"]


def test_the_ledger_hears_first(storage: ArchiveStorage) -> None:
    """The recordings of a day are told before its file is written: a kill between the two loses none."""
    told: list[str] = []
    read(StubProvider([item("a", f"{DAY}T10:00:00Z")]), storage, told=told)
    assert told[-1] == f"{DAY} 1 recordings, 0 rows"


def test_a_re_read_without_news_writes_nothing(storage: ArchiveStorage) -> None:
    """The same answer again leaves every file as it is."""
    provider = StubProvider([item("a", f"{DAY}T10:00:00Z")])
    read(provider, storage)
    before = [(info.path, info.modified) for info in storage.list()]
    report = read(provider, storage, now=NOON + timedelta(hours=1))
    assert [(info.path, info.modified) for info in storage.list()] == before
    assert (report.days[-1].new, report.days[-1].changed) == (0, 0)


def test_a_purge_adds_to_the_row(storage: ArchiveStorage) -> None:
    """A tombstone keeps what was read before, and its recordings are expected as purged."""
    read(StubProvider([item("a", f"{DAY}T10:00:00Z", inputs={"q": "shoes"}, count=4)]), storage)
    gone = StubProvider([item("a", f"{DAY}T10:00:00Z", inputs={}, count=None, purgedAt="2026-11-21T00:00:00Z")])
    report = read(gone, storage, now=NOON + timedelta(days=1))
    (found,) = lake.read_partition(storage, SPEC, DAY).to_pylist()
    assert (found["count"], found["inputs"]) == (4, '{"q": "shoes"}')
    assert found["purged_at"] is not None
    assert report.days[-1].changed == 1


def test_a_broken_walk_keeps_what_came(storage: ArchiveStorage) -> None:
    """When the walk breaks, the rows before it are in the lake, and the error is there for the run to fail with."""
    error = BlockedError(Subject("specimen"), "401: check SPECIMEN_API_KEY", http_status=401)
    provider = StubProvider([item(str(n), f"{DAY}T0{n}:00:00Z") for n in range(6)], breaks_after=4, error=error)
    report = read(provider, storage)
    assert report.error is error
    assert lake.read_partition(storage, SPEC, DAY).num_rows == 4


def test_presigned_urls_never_reach_the_lake(storage: ArchiveStorage) -> None:
    """Wherever a presigned URL hides in the JSON, its query does not get into any file; harmless queries stay."""
    signed = "https://media.example/a.mp4?X-Amz-Signature=c0ffee00&X-Amz-Date=1"
    plain = "https://shop.example/?q=shoes"
    provider = StubProvider(
        [
            item(
                "a",
                f"{DAY}T10:00:00Z",
                inputs={"deep": [{"note": f"see {signed} now", "start": plain}]},
                tags=[signed],
                zz=signed,
            )
        ]
    )
    read(provider, storage)
    (found,) = lake.read_partition(storage, SPEC, DAY).to_pylist()
    text = str(found)
    assert "c0ffee00" not in text
    assert "https://media.example/a.mp4" in text
    assert plain in text


@pytest.mark.parametrize("execution_id", ["../../x", "a\x00b", "x" * 300, "\u202eevil", "'; DROP TABLE x; --"])
def test_hostile_ids_are_only_text(storage: ArchiveStorage, execution_id: str) -> None:
    """An id is kept verbatim, and is no path."""
    read(StubProvider([item(execution_id, f"{DAY}T10:00:00Z")]), storage)
    assert lake.read_partition(storage, SPEC, DAY)["execution_id"].to_pylist() == [execution_id]
    assert all(info.path.startswith(lake.partition_folder(SPEC.name, DAY)) for info in storage.list())
