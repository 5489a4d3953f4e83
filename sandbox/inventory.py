"""A session inventory, as somebody who places calls would keep it: CSV, JSON Lines and Parquet, each a little dirty."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sandbox import fiction
from sandbox.durations import told_seconds
from sandbox.executions import Execution
from sandbox.scenarios import Drift
from sandbox.seeds import generator
from sandbox.stage import Stage

CSV_NAME = "sessions-dialer.csv"
JSONL_NAME = "sessions-app.jsonl"
PARQUET_NAME = "sessions-warehouse.parquet"
LATE_NAME = "sessions-late.jsonl"
BROKEN_CSV_LINE = "agent_01HZBROKEN,not a time\r\n"
BROKEN_JSON_LINE = '{"session_id": "agent_01HZBROKEN", "started_at": "2026-\n'

COLUMNS: tuple[str, ...] = (
    "session_id",
    "started_at",
    "ended_at",
    "duration",
    "status",
    "campaign_id",
    "phone_number",
    "direction",
    "agent",
    "contact",
    "attempt",
    "cost",
    "notes",
)

Row = dict[str, object]

_NEW_YORK = timezone(timedelta(hours=-5))
_FORMATS = 3


class Inventory:
    """The files of one provider's sessions."""

    def __init__(self, stage: Stage, provider: str) -> None:
        self._stage = stage
        self._provider = provider
        self._told: dict[str, bool] | None = None
        """Session id to whether it had ended when it was written; None before the first files."""
        self._late: set[str] = set()

    def write(self, folder: Path) -> None:
        """Write what is new: three files at first, then a file of the sessions that appeared or ended since."""
        now = self._stage.world.now()
        sessions = self._stage.world.visible(self._provider)
        if self._told is None:
            self._told = {session.execution_id: session.has_ended(now) for session in sessions}
            folder.mkdir(parents=True, exist_ok=True)
            self._write_first(folder, sessions)
            return
        told = self._told
        late = [session for session in sessions if told.get(session.execution_id) is not session.has_ended(now)]
        names = {session.execution_id for session in late}
        if names != self._late:
            self._late = names
            _publish(folder / LATE_NAME, _jsonl([self._row(session) for session in late], broken=False))

    def _write_first(self, folder: Path, sessions: Sequence[Execution]) -> None:
        parts: list[list[Row]] = [[], [], []]
        for session in sessions:
            parts[session.number % _FORMATS].append(self._row(session))
        for_csv, for_jsonl, for_parquet = parts
        calm = self._stage.world.options.calm
        if for_csv and not calm:
            for_jsonl.append(for_csv[0])  # the same session in two files
        _publish(folder / CSV_NAME, _csv(for_csv, broken=not calm))
        _publish(folder / JSONL_NAME, _jsonl(for_jsonl, broken=not calm))
        _publish(folder / PARQUET_NAME, _parquet(for_parquet))

    def _row(self, session: Execution) -> Row:
        rng = generator(session.execution_id, "inventory")
        first, last = fiction.full_name(rng)
        ended = session.has_ended(self._stage.world.now())
        row: Row = {
            "session_id": session.execution_id,
            "started_at": session.created_at,
            "ended_at": session.ended_at if ended else None,
            "duration": told_seconds(session) if ended else None,
            "status": "ended" if ended else "in_progress",
            "campaign_id": f"cmp_{rng.choice(fiction.CAMPAIGNS)}",
            "phone_number": fiction.phone_number(rng),
            "direction": "outbound" if rng.random() < 0.8 else "inbound",  # noqa: PLR2004
            "agent": rng.choice(("riley", "sam", "Ana María")),
            "contact": f"{last}, {first}",
            "attempt": rng.randrange(1, 4),
            "cost": round(rng.uniform(0.01, 2.0), 4),
            "notes": None,
        }
        match session.drift:
            case Drift.UNKNOWN_WORDS:
                row["status"] = "wrapped_up"
            case Drift.HIDDEN_LINK:
                row["notes"] = f'played it back: {self._stage.embedded_link(session.recordings[0])} "ok"'
            case Drift.BADLY_TYPED:
                row["attempt"] = "first"
            case _:
                pass
        return row


def _csv(rows: Sequence[Row], *, broken: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for place, row in enumerate(rows):
        if broken and place == len(rows) // 2:
            text.write(BROKEN_CSV_LINE)
        writer.writerow({name: _told(value, UTC) for name, value in row.items()})
    return text.getvalue().encode()


def _jsonl(rows: Sequence[Row], *, broken: bool) -> bytes:
    """Write times with New York's winter offset, so that the local day need not be the UTC day."""
    lines: list[str] = []
    for row in rows:
        told = {name: _told(value, _NEW_YORK) for name, value in row.items()}
        lines.append(json.dumps(told | {"app": {"version": "3.2", "beta": False}}, ensure_ascii=False) + "\n")
    if broken:
        lines.insert(len(lines) // 2, BROKEN_JSON_LINE)
    return "".join(lines).encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    times = pa.timestamp("us", tz="UTC")
    types = {"started_at": times, "ended_at": times, "cost": pa.float64(), "duration": pa.float64()}
    columns = {name: pa.array([_typed(row[name]) for row in rows], types.get(name, pa.string())) for name in COLUMNS}
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


def _typed(value: object) -> object:
    return str(value) if isinstance(value, int) else value


def _told(value: object, zone: tzinfo) -> object:
    return value.astimezone(zone).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _publish(path: Path, data: bytes) -> None:
    """Put a whole file in place at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
