"""Small lakes, written as runs write them, and what a catalog should say of them by the ledger's own account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from assets.catalog.columns import ATTEMPTS, RECORDINGS
from assets.executions.intake import Row
from assets.executions.lake import write_partition
from assets.recordings.events import Copy, Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import NOT_ATTEMPTS, TERMINAL_STATES, Life, Outcome, State
from resources.model import Leg, RecordingKey
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRST = date(2026, 11, 1)
LONG_AGO, FAR_AHEAD = datetime(2020, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
Rows = list[tuple[Any, ...]]
Key = tuple[str, str, str, date]
"""Provider, execution id, leg and day of a recording."""


def day(number: int) -> date:
    """Return one of the lake's days."""
    return FIRST + timedelta(days=number)


def event(  # noqa: PLR0913 -- what a test wants to be otherwise
    provider: str = "feather",
    name: str = "a",
    state: State = State.PENDING,
    *,
    on: date = FIRST,
    leg: Leg = Leg.MAIN,
    seq: int = 1,
    epoch: int = 0,
    number: int | None = None,
    due: datetime | None = LONG_AGO,
) -> Event:
    """Return one event of a recording; an archived one has a copy."""
    number = 1 if number is None and state is State.ARCHIVED else number
    copy = (
        None
        if number is None
        else Copy(f"recordings/{name}/{leg.value}.{number}.mp4", 100 + number, "ab" * 32, "video/mp4", "cd" * 32, number)
    )
    return Event(
        key=RecordingKey(provider, name, leg),
        day=on,
        event_id=uuid4().hex,
        seq=seq,
        at=NOW + timedelta(seconds=seq),
        run_id="run",
        outcome=Outcome.ARCHIVED if state is State.ARCHIVED else Outcome.DISCOVERED if seq == 1 else Outcome.NOT_READY,
        life=Life(state=state, epoch=epoch, next_attempt_at=None if state in TERMINAL_STATES else due),
        copy=copy,
    )


def append(storage: ArchiveStorage, events: Iterable[Event]) -> None:
    """Append events as a run does, each provider's for itself."""
    ledger = Ledger(storage)
    by_provider: dict[str, list[Event]] = {}
    for each in events:
        by_provider.setdefault(each.key.provider, []).append(each)
    for its in by_provider.values():
        ledger.append(its, NOW)


def put_executions(storage: ArchiveStorage, provider: str, on: date, names: Iterable[str]) -> None:
    """Write executions of a day."""
    moment = datetime(on.year, on.month, on.day, 9, tzinfo=UTC)
    rows = [Row(name, moment, f'{{"id": "{name}"}}', NOW, NOW) for name in names]
    write_partition(storage, PROVIDERS[provider], on, rows)


def opened(root: Path) -> duckdb.DuckDBPyConnection:
    """Open the catalog of a root as an analyst does."""
    connection = duckdb.connect(str(root / "archive.duckdb"), read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def asked(root: Path, sql: str) -> Rows:
    """Return what the catalog of a root says."""
    with opened(root) as connection:
        return connection.execute(sql).fetchall()


def recordings(storage: ArchiveStorage) -> Counter[tuple[Any, ...]]:
    """Return the rows of ``recordings`` by the ledger's account."""
    wanted: Counter[tuple[Any, ...]] = Counter()
    for provider in PROVIDERS:
        for row in Ledger(storage).state_table(provider).to_pylist():
            row |= {"last_outcome": row["outcome"], "last_http_status": row["http_status"]}
            row["archived_at"] = (row["archived_at"] or row["at"]) if row["state"] == "archived" else None
            wanted[tuple(row[name] for name in RECORDINGS.columns)] += 1
    return wanted


def attempts(storage: ArchiveStorage) -> Counter[tuple[Any, ...]]:
    """Return the rows of ``recording_attempts`` by the ledger's account."""
    rows = (row for provider in PROVIDERS for row in Ledger(storage).events_table(provider).to_pylist())
    return Counter(tuple(row[name] for name in ATTEMPTS.columns) for row in rows if row["outcome"] not in NOT_ATTEMPTS)


def open_keys(storage: ArchiveStorage) -> set[Key]:
    """Return the key and day of each open recording by the ledger's account."""
    return {_key(row) for provider in PROVIDERS for row in Ledger(storage).open_table(provider).to_pylist()}


def due(storage: ArchiveStorage, without: Collection[Key] = ()) -> set[Key]:
    """Return the key and day of each recording that is due by the ledger's account, as if some were none of it.

    Blocked ones wait together.
    """
    found: set[Key] = set()
    now = datetime.now(UTC)
    for provider in PROVIDERS:
        rows = [row for row in Ledger(storage).open_table(provider).to_pylist() if _key(row) not in without]
        blocked = [row["next_attempt_at"] for row in rows if row["state"] == "blocked" and row["next_attempt_at"] is not None]
        for row in rows:
            until = max(blocked, default=None) if row["state"] == "blocked" else row["next_attempt_at"]
            if until is not None and until <= now:
                found.add(_key(row))
    return found


def _key(row: dict[str, Any]) -> Key:
    return row["provider"], row["execution_id"], row["leg"], row["date"]


def coverage(storage: ArchiveStorage) -> Counter[tuple[str, date, str]]:
    """Return for each provider, day and state how many recordings there are by the ledger's account."""
    rows = (row for provider in PROVIDERS for row in Ledger(storage).state_table(provider).to_pylist())
    return Counter((row["provider"], row["date"], row["state"]) for row in rows)
