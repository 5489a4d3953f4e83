"""Metadata in: one walk of a provider's list serves all the days that were asked for, and each day is merged with its past."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from assets.executions import lake
from assets.executions.decode import Decoder, moments_of
from assets.executions.intake import Row, are_plain, is_plain, split, strict
from assets.executions.schema import BAD, length_columns
from assets.executions.spool import Spool
from resources.errors import ArchiveError
from resources.failpoints import Failpoint, reached
from resources.model import ExecutionRecord, Leg, Window
from resources.providers.protocol import Page, Problem, Provider, ProviderSpec
from resources.redaction import redact, redact_documents
from resources.storage import ArchiveStorage

PROBLEMS_SHOWN = 50
"""How many problems a report holds in words; all of them are counted."""
_ID_SHOWN = 80
_LEGS = {leg.value: leg for leg in Leg}


class ExpectedRecording(msgspec.Struct, frozen=True, gc=False):
    """A recording that an execution should have.

    Attributes:
        execution_id, leg: which recording.
        terminal: True when the execution has ended.
        ended_at, purged_at: UTC, or None when unknown or not so.
        expected_seconds: how long it should play by the provider's account, or None where that says nothing.
    """

    execution_id: str
    leg: Leg
    terminal: bool
    ended_at: datetime | None
    purged_at: datetime | None
    expected_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DayReport:
    """What a read did to one partition: rows in it now, and of these new, changed, not listed this time, and still running."""

    day: date
    rows: int
    new: int
    changed: int
    kept: int
    non_terminal: int
    problem_count: int


@dataclass(slots=True)
class IngestReport:
    """What a read did.

    Attributes:
        days: one report for each day that was asked for and written or confirmed.
        problems: the first :data:`PROBLEMS_SHOWN`, in words; ``problem_count`` counts all.
        error: what broke the walk, or None. What had been read before it is in the lake.
    """

    days: list[DayReport] = field(default_factory=list[DayReport])
    problems: list[Problem] = field(default_factory=list[Problem])
    problem_count: int = 0
    error: ArchiveError | None = None

    def note(self, problem: Problem) -> None:
        """Count a problem, and keep it while there is room."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(Problem(redact(problem.where), redact(problem.what)))


BeforeWrite = Callable[[date, Sequence[ExpectedRecording]], object]
AfterRead = Callable[[Sequence[date]], object]


def ingest(
    provider: Provider,
    spec: ProviderSpec,
    storage: ArchiveStorage,
    days: Sequence[date],
    *,
    now: datetime,
    before_write: BeforeWrite,
    after_read: AfterRead | None = None,
) -> IngestReport:
    """Read the executions of ``days`` and merge them into their partitions.

    A day is written as soon as the walk has come past it, so that a walk through a year neither piles up nor is lost as a whole.
    What the walk brings of that day after all is merged at the end.

    Args:
        provider: the live client.
        spec: its description.
        storage: the archive root.
        days: the partitions; rows of other days are not written.
        now: UTC moment of this read.
        before_write: told of all recordings of a day, some thousands at a time, before the day's file is written, so that the
            ledger knows first.
        after_read: told of days that were read to their end and written, as soon as they are.

    Returns:
        The report. Where the walk broke, ``error`` says why, and what had come is merged; the caller should fail.

    Raises:
        StorageError: the root failed; no partition is half-written.
    """
    report = IngestReport()
    if not days:
        return report
    with Spool(Row) as spool, Decoder(spec) as decoder:
        reading = _Reading(spec, storage, spool, decoder, before_write, report)
        left = dict.fromkeys(days)
        done: Window | None = None
        for page in _pages(provider, Window.of_days(min(days), max(days)), report):
            _take(page, left.keys() | reading.reports.keys(), spool, now, report)
            if page.done is not None:
                done = _joined(done, page.done)
                past = [day for day in left if _contains(done, day)]
                reading.settle(past)
                for day in past:
                    del left[day]
                if past and after_read is not None:
                    after_read(past)
        reading.settle([day for day in dict.fromkeys(days) if day in left or spool.size(day)])
        if left and report.error is None and after_read is not None:
            after_read(list(left))
    report.days = [reading.reports[day] for day in dict.fromkeys(days)]
    return report


def _pages(provider: Provider, window: Window, report: IngestReport) -> Iterator[Page]:
    """Yield the pages of a walk; what breaks it ends them, and goes to the report."""
    try:
        yield from provider.find(window)
    except ArchiveError as error:
        report.error = error


def _take(page: Page, wanted: AbstractSet[date], spool: Spool[Row], now: datetime, report: IngestReport) -> None:
    for problem in page.problems:
        report.note(problem)
    days = [record.created_at.astimezone(UTC).date() for record in page.records]
    found = [(day, record) for day, record in zip(days, page.records, strict=True) if day in wanted]
    documents = [record.raw for _, record in found]
    if not are_plain(documents):
        documents = [_strict(record, report) for _, record in found]
    # Redacted last: the JSON is strict by now, so no credential hides behind a broken quote.
    for (day, record), document in zip(found, redact_documents(documents), strict=True):
        spool.add(day, Row(record.execution_id, record.created_at, document.decode(), now, now))


def _joined(done: Window | None, more: Window) -> Window:
    """Return two spans as one where they touch, else the one that was told later."""
    if done is None or more.start > done.end or more.end < done.start:
        return more
    return Window(min(done.start, more.start), max(done.end, more.end))


def _contains(span: Window, day: date) -> bool:
    window = Window.of_days(day, day)
    return span.start <= window.start and window.end <= span.end


def expected_recordings(spec: ProviderSpec, table: pa.Table) -> list[ExpectedRecording]:
    """Return the recordings that the executions of ``table``, rows of a partition, should have."""
    legs = cast("pa.ListArray[Any]", table["legs"].combine_chunks())
    rows, names = pc.list_parent_indices(legs), cast("list[str]", pc.list_flatten(legs).to_pylist())
    lengths = length_columns(spec)
    columns = table.select(["execution_id", "terminal", "ended_at", "purged_at", *dict.fromkeys(lengths.values())]).take(rows)
    ids, terminal = (cast("list[Any]", columns[name].to_pylist()) for name in ("execution_id", "terminal"))
    ended, purged = (moments_of(columns[name]) for name in ("ended_at", "purged_at"))
    seconds = {leg: cast("list[float | None]", columns[name].to_pylist()) for leg, name in lengths.items()}
    unknown: list[float | None] = [None] * len(names)
    return [
        ExpectedRecording(ids[row], leg, terminal[row], ended[row], purged[row], _length(seconds.get(leg, unknown)[row]))
        for row, leg in enumerate(map(_LEGS.__getitem__, names))
    ]


def _length(seconds: float | None) -> float | None:
    """Return a playing time; zero is what a provider writes that has not counted yet, and no recording plays for it."""
    return seconds if seconds is not None and 0 < seconds < math.inf else None


def _strict(record: ExecutionRecord, report: IngestReport) -> bytes:
    if is_plain(record.raw):
        return record.raw
    intake = strict(record.raw)
    if intake.repaired is not None:
        report.note(Problem(_where(record.execution_id), f"{intake.repaired}; kept as it came, see _raw and _bad"))
    return intake.text.encode()


@dataclass(slots=True)
class _Reading:
    """What a read makes of the days, one after the other."""

    spec: ProviderSpec
    storage: ArchiveStorage
    spool: Spool[Row]
    decoder: Decoder
    before_write: BeforeWrite
    report: IngestReport
    reports: dict[date, DayReport] = field(default_factory=dict[date, DayReport])

    def settle(self, days: Sequence[date]) -> None:
        """Merge what was read of ``days`` into their partitions, and forget it."""
        for day in days:
            self._settle(day)
            self.spool.discard(day)

    def _settle(self, day: date) -> None:
        rows, size = self.spool.rows(day), self.spool.size(day)
        with lake.updating(self.storage, self.spec, day, rows, size, decoder=self.decoder) as update:
            found = DayReport(day, update.rows, update.new, update.changed, update.kept, 0, 0)
            tally = _Tally()
            if update.news:
                update.publish(self._told(day, update.tables(), tally))
                reached(Failpoint.EXECUTIONS_WRITTEN)
            else:
                # The ledger hears again: it may be one that a kill left behind.
                for _ in self._told(day, update.tables(_told_columns(self.spec)), tally):
                    pass
        found = replace(found, non_terminal=tally.running, problem_count=tally.bad)
        self.reports[day] = found if day not in self.reports else _both(self.reports[day], found)

    def _told(self, day: date, tables: Iterator[pa.Table], tally: _Tally) -> Iterator[pa.Table]:
        """Pass tables on once the ledger knows of their recordings, and count what is in them."""
        for table in tables:
            self.before_write(day, expected_recordings(self.spec, table))
            tally.running += table.num_rows - (pc.sum(table["terminal"]).as_py() or 0)
            if table[BAD].null_count < table.num_rows:
                bad = table.select(["execution_id", BAD]).filter(pc.field(BAD).is_valid())
                tally.bad += bad.num_rows
                ids, values = (cast("list[str]", bad[name].to_pylist()) for name in ("execution_id", BAD))
                for execution_id, fields in zip(ids, values, strict=True):
                    # The names alone: the values are people's data, and this report goes to Dagster's databases.
                    names = ", ".join(sorted(split(fields)))
                    what = f"fields that do not fit their columns, kept in _bad: {names}"
                    self.report.note(Problem(_where(execution_id), what))
            yield table


@dataclass(slots=True)
class _Tally:
    """How many executions still run, and how many have fields that do not fit."""

    running: int = 0
    bad: int = 0


def _told_columns(spec: ProviderSpec) -> list[str]:
    names = ("execution_id", "legs", "terminal", "ended_at", "purged_at", BAD, *length_columns(spec).values())
    return list(dict.fromkeys(names))


def _both(first: DayReport, later: DayReport) -> DayReport:
    """Return one report of a day that was written, and once more since the walk brought more of it."""
    kept = max(0, first.kept + later.new - (later.rows - later.kept))
    return replace(later, new=first.new + later.new, changed=first.changed + later.changed, kept=kept)


def _where(execution_id: str) -> str:
    """Return an id fit for a message: ids come from outside, and may be long, or hold control characters."""
    return f"execution {execution_id[:_ID_SHOWN].encode('unicode_escape').decode()}"
