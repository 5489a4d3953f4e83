"""What is asked of a large lake: what is due, one recording, the coverage; then a fold and a publication."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from random import Random
from uuid import uuid4

import duckdb

from assets.catalog.publication import publish
from assets.executions import lake
from assets.recordings.compaction import fold
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.ledger.files import forget_recent
from assets.recordings.lifecycle import Life, Outcome, State
from assets.recordings.queue import queue_at
from benchmarks.lake.copies import linked
from benchmarks.lake.report import Line, interleaved, milliseconds, timed
from benchmarks.world.plan import LAST_DAY, NOW
from resources.model import Leg, RecordingKey
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage

TAIL_FILES = 100
_EVENTS_PER_FILE = 100
_SOON = NOW + timedelta(hours=2)
"""When it is asked what is due: about a third of the waiting recordings are."""
_GROUP = "questions"
_CHANGES = "changes"


def questions(root: Path, scratch: Path, rounds: int) -> list[Line]:
    """Measure with nothing in the tail, and with a hundred files there; then fold those, and publish what became of them."""
    with linked(root, scratch / "still") as still, linked(root, scratch / "written") as written:
        quiet, busy = open_storage(str(still)), open_storage(str(written))
        first = timed(lambda: publish(quiet, PROVIDERS.values(), NOW))
        publish(busy, PROVIDERS.values(), NOW)
        append_tail(busy)
        ids = _some_ids(quiet)
        with _catalog(still) as sql, _catalog(written) as busy_sql:
            works: dict[str, Callable[[], object]] = {
                "due": lambda: due(quiet),
                "due, tail": lambda: due(busy),
                "due, tail, anew": lambda: (forget_recent(), due(busy)),
                "id": lambda: Ledger(quiet).find(*next(ids)),
                "id, tail": lambda: Ledger(busy).find(*next(ids)),
                "due, SQL": lambda: sql.execute(_DUE, [_SOON]).fetchall(),
                "due, SQL, tail": lambda: busy_sql.execute(_DUE, [_SOON]).fetchall(),
                "id, SQL": lambda: _one_by_sql(sql, *next(ids)),
                "coverage, SQL": lambda: sql.execute(_COVERAGE).fetchall(),
                "coverage, SQL, tail": lambda: busy_sql.execute(_COVERAGE).fetchall(),
            }
            seconds = interleaved(rounds, works)
            wrong = sum(_differ(sql, quiet, *next(ids)) + _differ(busy_sql, busy, *next(ids)) for _ in range(rounds))
        took = {name: milliseconds(each) for name, each in seconds.items()}
        more = f"with {TAIL_FILES} files in the tail"
        lines = [
            Line(_GROUP, "due between folds, all providers", took["due"], "ms", 20.0),
            Line(_GROUP, f"due {more}, more than without", took["due, tail"] - took["due"], "ms", 40.0),
            Line(_GROUP, "the same by a process that has just begun", took["due, tail, anew"] - took["due"], "ms"),
            Line(_GROUP, "state of one id", took["id"], "ms", 30.0),
            Line(_GROUP, f"state of one id {more}", took["id, tail"], "ms"),
            Line(_GROUP, "due, by SQL on the catalog", took["due, SQL"], "ms", 20.0),
            Line(_GROUP, f"due {more}, by SQL, more than without", took["due, SQL, tail"] - took["due, SQL"], "ms", 40.0),
            Line(_GROUP, "state of one id, by SQL", took["id, SQL"], "ms", 30.0),
            Line(_GROUP, "ids of which SQL and the ledger say different states", wrong, "", 0.0),
            Line(_GROUP, "coverage of everything, by SQL", took["coverage, SQL"], "ms", 100.0),
            Line(_GROUP, f"coverage {more}, by SQL", took["coverage, SQL, tail"], "ms"),
        ]
        return [*lines, *_changes(busy, written, rounds, first)]


def due(storage: ArchiveStorage) -> int:
    """Count what is due, as the sensors do."""
    ledger = Ledger(storage)
    queues = (queue_at(ledger, name, _SOON, date.min) for name in PROVIDERS)
    return sum(sum(queue.due.values()) for queue in queues)


def append_tail(storage: ArchiveStorage) -> None:
    """Append files of news about a hundred days, by turns of the providers."""
    ledgers = {name: Ledger(storage) for name in PROVIDERS}
    for number in range(TAIL_FILES):
        provider = list(PROVIDERS)[number % len(PROVIDERS)]
        day = LAST_DAY - timedelta(days=number // len(PROVIDERS))
        ledgers[provider].append([new_event(provider, day) for _ in range(_EVENTS_PER_FILE)], NOW)


def new_event(provider: str, day: date) -> Event:
    """Return the first event of a recording that is due at once."""
    life = Life(state=State.PENDING, next_attempt_at=NOW, eligible_since=NOW, ended_at=NOW)
    key = RecordingKey(provider, str(uuid4()), Leg.MAIN)
    return Event(key, day, uuid4().hex, 1, NOW, uuid4().hex, Outcome.DISCOVERED, life)


_DUE = "SELECT provider, date, count(*) FROM due WHERE next_attempt_at <= ? GROUP BY ALL"
_COVERAGE = "SELECT * FROM coverage"


def _one_by_sql(connection: duckdb.DuckDBPyConnection, provider: str, execution_id: str) -> list[tuple[object, ...]]:
    """Look an id up in the index, then in its day, as the analysts' page says."""
    days = connection.execute(
        "SELECT date FROM execution_days WHERE provider = ? AND execution_id = ?", [provider, execution_id]
    ).fetchall()
    found: list[tuple[object, ...]] = []
    for (day,) in days:
        query = "SELECT * FROM recordings_of(?, ?) WHERE execution_id = ?"
        found += connection.execute(query, [provider, day, execution_id]).fetchall()
    return found


def _differ(connection: duckdb.DuckDBPyConnection, storage: ArchiveStorage, provider: str, execution_id: str) -> bool:
    """Whether the catalog says something else of an execution's recordings than the ledger."""
    said = connection.execute("SELECT leg, state FROM recordings WHERE execution_id = ?", [execution_id]).fetchall()
    known = Ledger(storage).find(provider, execution_id)
    return sorted(said) != sorted((key.leg.value, event.life.state.value) for key, event in known.items())


def _changes(storage: ArchiveStorage, root: Path, rounds: int, first: float) -> list[Line]:
    """Fold a tail of a hundred files and write the manifests of their days, as each publication does first; and publish."""
    ledger = Ledger(storage)

    def fold_all() -> None:
        for name in PROVIDERS:
            fold(ledger, name)

    folds: list[float] = []
    publications: list[float] = []
    for number in range(max(2, rounds // 4)):
        if number:
            append_tail(storage)
        folds.append(timed(fold_all))
        publications.append(timed(lambda: publish(storage, PROVIDERS.values(), NOW)))
    size = (root / "archive.duckdb").stat().st_size / 1e6
    return [
        Line(_CHANGES, f"fold of a tail of {TAIL_FILES} files, and {TAIL_FILES} manifests", statistics.median(folds), "s"),
        Line(_CHANGES, "first publication of the catalog", first, "s"),
        Line(_CHANGES, "publication after such a fold", statistics.median(publications), "s"),
        Line(_CHANGES, "size of the catalog", size, "MB"),
    ]


def _some_ids(storage: ArchiveStorage) -> Iterator[tuple[str, str]]:
    """Yield provider and id of executions of any age, for ever, none of them twice in a row."""
    rng = Random("ids")  # noqa: S311 -- nothing here is a secret
    known: list[tuple[str, str]] = []
    for name, spec in PROVIDERS.items():
        for day in rng.sample(days := lake.partitions(storage, name), min(5, len(days))):
            ids = lake.read_partition(storage, spec, day)["execution_id"]
            known += [(name, ids[rng.randrange(len(ids))].as_py()) for _ in range(20)]
    return (known[rng.randrange(len(known))] for _ in count())


def _catalog(root: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(root / "archive.duckdb"), read_only=True)
    connection.execute("SET python_enable_replacements = false")  # ``due`` is a view there, and a function here
    return connection
