"""Metadata in: one walk of a provider's list serves all the days that were asked for, and each day is merged with its past."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from assets.executions import lake
from assets.executions.intake import Row, split, strict
from assets.executions.merge import merge
from assets.executions.schema import BAD, length_columns
from assets.executions.spool import Spool
from resources.errors import ArchiveError
from resources.failpoints import Failpoint, reached
from resources.model import ExecutionRecord, Leg, Window
from resources.providers.protocol import Problem, Provider, ProviderSpec
from resources.redaction import redact, redact_json
from resources.storage import ArchiveStorage

PROBLEMS_SHOWN = 50
"""How many problems a report holds in words; all of them are counted."""
_ID_SHOWN = 80


@dataclass(frozen=True, slots=True)
class ExpectedRecording:
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


BeforeWrite = Callable[[date, Sequence[ExpectedRecording]], None]


def ingest(
    provider: Provider,
    spec: ProviderSpec,
    storage: ArchiveStorage,
    days: Sequence[date],
    *,
    now: datetime,
    before_write: BeforeWrite,
) -> IngestReport:
    """Read the executions of ``days`` and merge them into their partitions.

    Args:
        provider: the live client.
        spec: its description.
        storage: the archive root.
        days: the partitions; rows of other days are not written.
        now: UTC moment of this read.
        before_write: told of all recordings of a day before the day's file is written, so that the ledger knows first.

    Returns:
        The report. Where the walk broke, ``error`` says why, and what had come is merged; the caller should fail.

    Raises:
        StorageError: the root failed; no partition is half-written.
    """
    report = IngestReport()
    if not days:
        return report
    with Spool() as spool:
        try:
            _walk(provider, days, spool, now, report)
        except ArchiveError as error:
            report.error = error
        for day in dict.fromkeys(days):
            report.days.append(_settle(spec, storage, day, spool.rows(day), before_write, report))
    return report


def _walk(provider: Provider, days: Sequence[date], spool: Spool, now: datetime, report: IngestReport) -> None:
    wanted = frozenset(days)
    for page in provider.find(Window.of_days(min(days), max(days))):
        for problem in page.problems:
            report.note(problem)
        for record in page.records:
            day = record.created_at.astimezone(UTC).date()
            if day in wanted:
                spool.add(day, _row(record, now, report))


def expected_recordings(spec: ProviderSpec, table: pa.Table) -> list[ExpectedRecording]:
    """Return the recordings that the executions of a partition should have."""
    lengths = length_columns(spec)
    names = ("execution_id", "legs", "terminal", "ended_at", "purged_at", *dict.fromkeys(lengths.values()))
    rows = table.select(names).to_pylist()
    return [
        ExpectedRecording(
            row["execution_id"],
            leg,
            row["terminal"],
            row["ended_at"],
            row["purged_at"],
            _length(row[lengths[leg]]) if leg in lengths else None,
        )
        for row in rows
        for leg in map(Leg, row["legs"])
    ]


def _length(seconds: float | None) -> float | None:
    """Return a playing time; zero is what a provider writes that has not counted yet, and no recording plays for it."""
    return seconds if seconds is not None and 0 < seconds < math.inf else None


def _row(record: ExecutionRecord, now: datetime, report: IngestReport) -> Row:
    intake = strict(record.raw)
    if intake.repaired is not None:
        report.note(Problem(_where(record.execution_id), f"{intake.repaired}; kept as it came, see _raw and _bad"))
    # Redacted last: the JSON is strict by now, so no credential hides behind a broken quote.
    return Row(record.execution_id, record.created_at, redact_json(intake.text.encode()).decode(), now, now)


def _settle(
    spec: ProviderSpec, storage: ArchiveStorage, day: date, rows: Iterable[Row], before_write: BeforeWrite, report: IngestReport
) -> DayReport:
    before = lake.snapshot(storage, spec, day)
    merged = merge(spec, lake.rows_of(before.table), rows)
    news = bool(merged.new or merged.changed or not before.settled)
    table = lake.updated(spec, day, before.table, merged.rows) if news else before.table
    # Also without news: a ledger that a kill left behind catches up.
    before_write(day, expected_recordings(spec, table))
    if news:
        lake.write(storage, spec, day, table, before)
        reached(Failpoint.EXECUTIONS_WRITTEN)
    bad = table.filter(pc.field(BAD).is_valid()).select(["execution_id", BAD])
    ids, values = (cast("list[str]", bad[name].to_pylist()) for name in ("execution_id", BAD))
    for execution_id, fields in zip(ids, values, strict=True):
        # The names alone: the values are people's data, and this report goes to Dagster's databases.
        names = ", ".join(sorted(split(fields)))
        report.note(Problem(_where(execution_id), f"fields that do not fit their columns, kept in _bad: {names}"))
    running = table.num_rows - table.filter(pc.field("terminal")).num_rows
    return DayReport(day, table.num_rows, merged.new, merged.changed, merged.kept, running, bad.num_rows)


def _where(execution_id: str) -> str:
    """Return an id fit for a message: ids come from outside, and may be long, or hold control characters."""
    return f"execution {execution_id[:_ID_SHOWN].encode('unicode_escape').decode()}"
