"""Metadata in: many days in one walk, late facts, broken walks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from assets.executions import lake
from assets.executions.ingest import ExpectedRecording, IngestReport, ingest
from assets.executions.spool import Spool
from resources.errors import BlockedError, Subject
from resources.model import ExecutionRecord, Window
from resources.providers.protocol import Page
from resources.storage import ArchiveStorage, open_storage
from tests.executions.specimen import DAY, NOON, SPEC, StubProvider, row

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


def test_no_days_are_no_walk(storage: ArchiveStorage) -> None:
    """Asked for nothing, it asks for nothing."""
    provider = StubProvider([item("a", f"{DAY}T10:00:00Z")])
    report = ingest(provider, SPEC, storage, [], now=NOON, before_write=lambda _day, _expected: None)
    assert (provider.walks, report.days) == (0, [])


def test_days_between_that_were_not_asked_for_are_left_alone(storage: ArchiveStorage) -> None:
    """A walk over a span writes the days that were asked for only."""
    provider = StubProvider([item(str(day), f"{day}T10:00:00Z") for day in DAYS])
    ingest(provider, SPEC, storage, [DAYS[2], DAYS[0]], now=NOON, before_write=lambda _day, _expected: None)
    assert lake.partitions(storage, SPEC.name) == [DAYS[0], DAYS[2]]


def test_a_long_walk_goes_by_way_of_the_disk(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit in memory is read all the same, and nothing of it stays behind."""
    monkeypatch.setattr("assets.executions.ingest.Spool", lambda kind: Spool(kind, memory_bytes=100))
    report = read(StubProvider([item(f"{n}", f"{DAYS[n % 3]}T10:00:00Z") for n in range(30)]), storage)
    assert [(day.rows, day.new) for day in report.days] == [(10, 10)] * 3


def test_the_order_of_the_pages_does_not_matter(storage: ArchiveStorage, tmp_path: Path) -> None:
    """Newest first or oldest first, the partition holds the same rows in the same order."""
    items = [item(f"{n}", f"{DAY}T0{n % 5}:00:00Z", count=n) for n in range(9)]
    other = open_storage(str(tmp_path / "other"))
    read(StubProvider(items), storage)
    read(StubProvider(items[::-1]), other)
    assert lake.read_partition(storage, SPEC, DAY).equals(lake.read_partition(other, SPEC, DAY))


def test_problems_name_fields_and_not_values(storage: ArchiveStorage) -> None:
    """What does not fit is reported by name: the value may be a person's, and ids may hold anything."""
    report = read(StubProvider([item("\u202ea\nb" + "x" * 300, f"{DAY}T10:00:00Z", count="Ms Miller, 12 Elm Street")]), storage)
    (problem,) = report.problems
    assert "count" in problem.what
    assert "Miller" not in str(report)
    assert problem.where.isascii()
    assert problem.where.isprintable()
    assert len(problem.where) < 200


def test_broken_json_is_a_row_and_a_problem(storage: ArchiveStorage) -> None:
    """A row that is no strict JSON keeps its place in its day, and its secrets are removed too."""

    class Broken(StubProvider):
        def find(self, window: Window) -> Iterator[Page]:
            created_at = window.end - timedelta(hours=1)
            raw = b'{"id":"a","count":NaN,"u":"https://h.example/x?X-Amz-Signature=c0ffee"'
            yield Page((ExecutionRecord("a", created_at, raw + b"}"), ExecutionRecord("b", created_at, raw)))

    report = read(Broken(), storage)
    found = lake.read_partition(storage, SPEC, DAY).to_pylist()
    assert [item["execution_id"] for item in found] == ["a", "b"]
    assert all(item["_bad"] for item in found)
    assert "c0ffee" not in str(found)
    assert {problem.where for problem in report.problems} == {"execution a", "execution b"}


def test_a_partition_that_two_runs_left_is_joined_without_news(storage: ArchiveStorage) -> None:
    """Also when nothing has changed at the provider, the next read leaves one file."""
    provider = StubProvider([item("a", f"{DAY}T10:00:00Z")])
    stale = lake.former(storage, SPEC, DAY)
    read(provider, storage)
    lake.write_partition(storage, SPEC, DAY, [row(execution_id="a", createdAt=f"{DAY}T10:00:00Z", status="done")], stale)
    assert len(lake.partition_files(storage, SPEC.name)[DAY]) == 2
    report = read(provider, storage, now=NOON + timedelta(hours=1))
    assert (report.days[-1].rows, report.days[-1].new, report.days[-1].changed) == (1, 0, 0)
    assert len(lake.partition_files(storage, SPEC.name)[DAY]) == 1


class Weeks(StubProvider):
    """A provider whose walk says, after each day, that the day is done; it may break in the end, or bring a row late."""

    late: dict[str, object] | None = None
    fault: BlockedError | None = None

    def find(self, window: Window) -> Iterator[Page]:
        """Yield each day in its own pages, oldest first."""
        day = window.start
        while day < window.end:
            part = Window(day, day + timedelta(days=1))
            if self.fault is not None and part.end == window.end:
                raise self.fault
            yield from super().find(part)
            yield Page((), (), part)
            day = part.end
        if self.late is not None:
            created_at = datetime.fromisoformat(str(self.late["createdAt"]))
            yield Page((ExecutionRecord(str(self.late["id"]), created_at, json.dumps(self.late).encode()),))


def test_a_day_is_written_once_the_walk_has_passed_it(storage: ArchiveStorage) -> None:
    """What a walk through many days has read survives its breaking, and its being killed: done days are written, and told."""
    told: list[list[date]] = []
    written: list[int] = []

    def after_read(days: Sequence[date]) -> None:
        told.append(list(days))
        written.append(sum(lake.read_partition(storage, SPEC, day).num_rows for day in DAYS))

    provider = Weeks([item(f"{day}-{n}", f"{day}T0{n}:00:00Z") for day in DAYS for n in range(3)])
    provider.fault = BlockedError(Subject("specimen"), "401: check SPECIMEN_API_KEY", http_status=401)
    report = ingest(provider, SPEC, storage, DAYS, now=NOON, before_write=lambda _, __: None, after_read=after_read)
    assert report.error is provider.fault
    assert (told, written) == ([[DAYS[0]], [DAYS[1]]], [3, 6])
    assert [(day.day, day.rows) for day in report.days] == [(DAYS[0], 3), (DAYS[1], 3), (DAYS[2], 0)]


def test_what_comes_late_for_a_day_that_was_done_is_merged(storage: ArchiveStorage) -> None:
    """A provider whose order is not what it seemed loses nothing: the day is written once more, and counted once."""
    provider = Weeks([item(f"{day}-{n}", f"{day}T0{n}:00:00Z") for day in DAYS for n in range(3)])
    read(provider, storage)
    provider.late = item("late", f"{DAYS[0]}T12:00:00Z")
    report = read(provider, storage, now=NOON + timedelta(hours=1))
    assert (report.days[0].rows, report.days[0].new, report.days[0].changed, report.days[0].kept) == (4, 1, 0, 0)
    assert "late" in lake.read_partition(storage, SPEC, DAYS[0])["execution_id"].to_pylist()
