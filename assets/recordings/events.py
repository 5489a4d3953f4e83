"""One event of the ledger: what was learnt of one recording at one moment, and the state that follows from it.

Every event carries the whole state after it, so the state of a recording is simply its winning event, and any file of events can
be read without the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import pyarrow as pa
from msgspec.structs import astuple

from assets.recordings.lifecycle import TERMINAL_STATES, Life, Outcome, State
from resources.model import Leg, RecordingKey

_MOMENT = pa.timestamp("us", "UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Copy:
    """The facts of an archived copy.

    Attributes:
        path: relative to the archive root.
        bytes: its length.
        sha256: of its bytes, lower-case hex.
        content_type: detected from its bytes, not the one that was declared.
        sidecar_sha256: of the sidecar's bytes, for the manifest.
        number: 1 for the first copy; a copy that replaces a damaged one has the next number, and stands beside it.
        media_seconds: how long it plays by its own account; None where it does not say, or was not asked.
        archived_at: UTC moment of its publication, as its sidecar says.
    """

    path: str
    bytes: int
    sha256: str
    content_type: str
    sidecar_sha256: str
    number: int = 1
    media_seconds: float | None = None
    archived_at: datetime | None = None


class Flaw(StrEnum):
    """What is doubtful about an archived copy: it stays archived, and a person should look at it."""

    DURATION = "duration"
    """It plays for another time than the provider says (see ``MEDIA_DURATION_TOLERANCE_SECONDS``)."""
    DAMAGED = "damaged"
    """An audit found other bytes than those that were stored."""
    MISSING = "missing"
    """An audit found nothing where it was stored."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the ledger.

    Attributes:
        key: which recording.
        day: its partition.
        event_id: unique; ties between writers are broken by it.
        seq: how many events its writer knew of the recording, itself included.
        at: UTC time by the writer's clock; for people, never for order alone.
        run_id: the Dagster run, or the command's own id.
        outcome: what was learnt.
        life: the state after it.
        http_status: of the answer that decided, if one came.
        detail: a sentence for people; redacted.
        api_base: the base URL that gave the answer.
        proved_base: the last base URL that led to this recording or to its "not ready": its 404s are believed.
        seconds: how long link and transfer took.
        copy: the facts of the copy once it is archived.
        flaw: what is doubtful about that copy, or None.
        expected_seconds: how long the recording should play by the provider's account of the execution, if there is one.
    """

    key: RecordingKey
    day: date
    event_id: str
    seq: int
    at: datetime
    run_id: str
    outcome: Outcome
    life: Life
    http_status: int | None = None
    detail: str | None = None
    api_base: str | None = None
    seconds: float | None = None
    proved_base: str | None = None
    copy: Copy | None = None
    flaw: Flaw | None = None
    expected_seconds: float | None = None

    @property
    def order(self) -> tuple[bool, int, int, bool, int, datetime, str]:
        """The key by which the winning event of a recording is the greatest.

        Archived beats everything (a late event never revives it), and the newest copy an older one; then the later requeue; then
        a terminal state; then the longer history; clocks and ids only break ties.
        """
        state = self.life.state
        return (
            state is State.ARCHIVED,
            self.copy.number if self.copy is not None else 0,
            self.life.epoch,
            state in TERMINAL_STATES,
            self.seq,
            self.at,
            self.event_id,
        )


SCHEMA = pa.schema(
    [
        ("provider", pa.string()),
        ("date", pa.date32()),
        ("execution_id", pa.string()),
        ("leg", pa.string()),
        ("event_id", pa.string()),
        ("seq", pa.int64()),
        ("at", _MOMENT),
        ("run_id", pa.string()),
        ("outcome", pa.string()),
        ("state", pa.string()),
        ("attempts", pa.int64()),
        ("attempts_before", pa.int64()),
        ("suspects", pa.int64()),
        ("epoch", pa.int64()),
        ("next_attempt_at", _MOMENT),
        ("eligible_since", _MOMENT),
        ("trying_since", _MOMENT),
        ("ended_at", _MOMENT),
        ("http_status", pa.int32()),
        ("detail", pa.string()),
        ("api_base", pa.string()),
        ("proved_base", pa.string()),
        ("seconds", pa.float64()),
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("content_type", pa.string()),
        ("sidecar_sha256", pa.string()),
        ("number", pa.int32()),
        ("media_seconds", pa.float64()),
        ("flaw", pa.string()),
        ("expected_seconds", pa.float64()),
        ("absences", pa.int64()),
        ("archived_at", _MOMENT),
    ]
)
"""The columns of an event file and of the compacted state; one row an event."""

_NOTHING: dict[str, Any] = dict.fromkeys(SCHEMA.names)
_TYPES = tuple(SCHEMA.types)
_Row: Callable[..., msgspec.Struct] = msgspec.defstruct("Row", SCHEMA.names, gc=False)

NEVER_NULL = ("provider", "date", "execution_id", "leg", "event_id", "seq", "at", "outcome", "state", "attempts", "epoch")
"""The columns without which a row is no event."""

_LIFE_FIELDS = (
    "attempts",
    "attempts_before",
    "suspects",
    "absences",
    "epoch",
    "next_attempt_at",
    "eligible_since",
    "trying_since",
    "ended_at",
)
_COPY_FIELDS = ("path", "bytes", "sha256", "content_type", "sidecar_sha256", "number", "media_seconds", "archived_at")


def to_rows(events: Iterable[Event]) -> list[msgspec.Struct]:
    """Return the events as rows with every column of :data:`SCHEMA`, in its order, as a reader of the table will see them."""
    return list(map(_to_row, events))


def to_table(events: Iterable[Event]) -> pa.Table:
    """Return the events as a table of :data:`SCHEMA`."""
    return table_of(to_rows(events))


def table_of(rows: Sequence[msgspec.Struct]) -> pa.Table:
    """Return rows of :func:`to_rows` as a table; takes a third of the time of Arrow's own way."""
    columns = zip(*map(astuple, rows), strict=True) if rows else ((),) * len(_TYPES)
    moments = _Moments()
    arrays = [
        pa.array(list(map(moments.__getitem__, column)), pa.int64()).view(kind) if kind == _MOMENT else pa.array(column, kind)
        for column, kind in zip(columns, _TYPES, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


class _Moments(dict[datetime | None, int | None]):
    """Moments as Arrow keeps them, each reckoned once: Arrow takes ten times as long over times with a zone."""

    def __missing__(self, moment: datetime | None) -> int | None:
        self[moment] = found = None if moment is None else (moment - _EPOCH) // _MICROSECOND
        return found


def from_table(table: pa.Table) -> list[Event]:
    """Return the events of a table of :data:`SCHEMA`; columns that an older file lacks are None."""
    return [_from_row(row) for row in table.to_pylist()]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> list[Event]:
    """Return the events of rows as they lie in an event file; columns that an older file lacks are None.

    Raises:
        ValueError, TypeError, KeyError: a row holds what no version that this one knows has written.
    """
    return [_from_row({**_NOTHING, **row}) for row in rows]


def winners(events: Iterable[Event]) -> dict[RecordingKey, Event]:
    """Return for each recording the event that is its state."""
    best: dict[RecordingKey, Event] = {}
    for event in events:
        known = best.get(event.key)
        if known is None or event.order > known.order:
            best[event.key] = event
    return best


def _as_float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _to_row(event: Event) -> msgspec.Struct:
    key, life, copy = event.key, event.life, event.copy
    # In the order of SCHEMA, and by place: names take four times as long. Words stay members of their enumerations, all texts.
    return _Row(
        key.provider,
        event.day,
        key.execution_id,
        key.leg,
        event.event_id,
        event.seq,
        event.at,
        event.run_id,
        event.outcome,
        life.state,
        life.attempts,
        life.attempts_before,
        life.suspects,
        life.epoch,
        life.next_attempt_at,
        life.eligible_since,
        life.trying_since,
        life.ended_at,
        event.http_status,
        event.detail,
        event.api_base,
        event.proved_base,
        _as_float(event.seconds),
        copy.path if copy else None,
        copy.bytes if copy else None,
        copy.sha256 if copy else None,
        copy.content_type if copy else None,
        copy.sidecar_sha256 if copy else None,
        copy.number if copy else None,
        _as_float(copy.media_seconds) if copy else None,
        event.flaw,
        _as_float(event.expected_seconds),
        life.absences,
        copy.archived_at if copy else None,
    )


def _from_row(row: Mapping[str, Any]) -> Event:
    copy = Copy(**{name: row[name] for name in _COPY_FIELDS}) if row.get("path") else None
    if copy is not None and copy.number is None:  # pyright: ignore[reportUnnecessaryComparison] -- files from before it was counted
        copy = replace(copy, number=1)
    lived: dict[str, Any] = {name: row[name] for name in _LIFE_FIELDS}
    lived["absences"] = lived["absences"] or 0  # files from before they were counted
    return Event(
        key=RecordingKey(row["provider"], row["execution_id"], Leg(row["leg"])),
        day=row["date"],
        event_id=row["event_id"],
        seq=row["seq"],
        at=row["at"],
        run_id=row["run_id"],
        outcome=Outcome(row["outcome"]),
        life=Life(state=State(row["state"]), **lived),
        http_status=row["http_status"],
        detail=row["detail"],
        api_base=row["api_base"],
        proved_base=row["proved_base"],
        seconds=row["seconds"],
        copy=copy,
        flaw=Flaw(row["flaw"]) if row["flaw"] is not None else None,
        expected_seconds=row["expected_seconds"],
    )
