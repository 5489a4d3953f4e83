"""Building the DuckDB file that analysts open: small tables, and views over the Parquet files of the lake.

What costs as much as the history stays where it is. So the file is small and quickly made, and what was appended after its
publication is in the answers: the views overlay the tail that they find when they are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib import resources as package_files
from pathlib import Path
from string import Template

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from assets.catalog.columns import CATALOG_INFO, EXECUTIONS, RECORDINGS_OF, SHARED_TABLES, Table, published_tables
from assets.catalog.facts import Facts
from assets.catalog.filesystem import mount
from assets.catalog.lanes import Lane
from assets.catalog.sources import SEED, Root, Types, literal, scan, scan_day, scan_tail, types_of
from assets.executions.schema import column_docs, lake_schema
from assets.recordings import names
from assets.recordings.events import SCHEMA as EVENT_SCHEMA
from assets.recordings.ledger import Ledger, places
from assets.recordings.ledger.ids import PAIRS
from assets.recordings.lifecycle import NOT_ATTEMPTS, OPEN_STATES, TERMINAL_STATES, State
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage

STORAGE_VERSION = "v1.5.0"
"""The file format that DuckDB 1.5 clients, and all later ones, can open."""

_SQL = package_files.files("assets.catalog") / "sql"
_VIEWS = ("states", "news", "recordings", "recording_attempts", "coverage", "due", "execution_days")


@dataclass(slots=True)
class BuildReport:
    """Rows of the tables and views as they were at the publication, as far as the lists of files say them."""

    rows: dict[str, int] = field(default_factory=dict[str, int])


def build(path: Path, storage: ArchiveStorage, lanes: Sequence[Lane], facts: Facts, now: datetime) -> BuildReport:
    """Make a new DuckDB file at ``path``, which must not exist, and close it.

    Raises:
        StorageError: the lake cannot be read.
        duckdb.Error: the file cannot be written.
    """
    _seed_tail(storage, lanes)
    with duckdb.connect() as connection:
        mount(connection, storage)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH {literal(str(path))} AS catalog (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE catalog")
        connection.execute("BEGIN")  # one commit for hundreds of small statements
        connection.execute("CREATE SCHEMA published")
        report = _Builder(connection, storage, lanes, facts, now).fill()
        connection.execute("COMMIT")
        connection.execute("USE memory")
        connection.execute("DETACH catalog")
    return report


def provider_table(spec: ProviderSpec) -> Table:
    """Return the documentation of a provider's own table."""
    comment = f"One row for each {spec.title} execution, with all fields of the provider, nested ones included."
    return Table(spec.view, comment, column_docs(spec))


def _seed_tail(storage: ArchiveStorage, lanes: Iterable[Lane]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(EVENT_SCHEMA.empty_table(), sink)
    for lane in lanes:
        path = f"{names.tail_folder(lane.spec.name)}/{SEED}"
        if not storage.exists(path):
            storage.write(path, sink.getvalue().to_pybytes())


@dataclass(slots=True)
class _Builder:
    connection: duckdb.DuckDBPyConnection
    storage: ArchiveStorage
    lanes: Sequence[Lane]
    facts: Facts
    now: datetime

    def fill(self) -> BuildReport:
        """Make every table and view, with its comments."""
        report = BuildReport()
        for lane in self.lanes:
            files = [path for paths in lane.executions.values() for path in paths]
            self._view(lane.spec.view, self._scan(self._types(lake_schema(lane.spec)), files))
            report.rows[lane.spec.view] = sum(fact.rows for fact in self.facts.of(files).values())
        shared = ", ".join(f'"{name}"' for name in EXECUTIONS.columns)
        parts = " UNION ALL ".join(f"SELECT {shared} FROM {lane.spec.view}" for lane in self.lanes)  # noqa: S608 -- names of the registry
        self._view("executions", parts)
        self._sources()
        report.rows["coverage"] = self._tables()
        for name in _VIEWS:
            self.connection.execute(_sql(name))
        self.connection.execute(_sql("recordings_of", state=self._state_of_day()))
        described(self.connection, RECORDINGS_OF)
        for table in (*SHARED_TABLES, *published_tables(), *(provider_table(lane.spec) for lane in self.lanes), CATALOG_INFO):
            commented(self.connection, table, "TABLE" if table.stored else "VIEW")
        report.rows["executions"] = sum(report.rows[lane.spec.view] for lane in self.lanes)
        report.rows["recordings"] = sum(part.recordings for lane in self.lanes for part in lane.partitions.values())
        return report

    def _sources(self) -> None:
        events = self._types(EVENT_SCHEMA)
        root = self._root
        self._view("published.day_states", self._scan(events, (path for lane in self.lanes for path in lane.states)))
        of_months = {"month": "VARCHAR", **events}
        months = [path for lane in self.lanes for path in lane.months]
        self._view("published.month_states", self._scan(of_months, months, largest_first=True))
        self._table("published.days", pa.Table.from_pylist([*self._days()], schema=_DAYS))
        self._view("published.histories", self._scan(events, (path for lane in self.lanes for path in lane.histories)))
        folded = (path for lane in self.lanes for path in lane.snapshot.folded)
        packed = (path for lane in self.lanes for path in lane.packed)
        for name, known in (("tail", folded), ("appended", packed)):
            self._view(f"published.{name}", scan_tail(root, names.TAIL, events, known, [lane.spec.name for lane in self.lanes]))
        segments = (segment.path for lane in self.lanes for segment in lane.snapshot.ids)
        self._view("published.ids", self._scan({"provider": "VARCHAR", **self._types(PAIRS)}, segments))

    def _state_of_day(self) -> str:
        files = (path for lane in self.lanes for path in (*lane.states, *lane.months))
        empty = f"{names.tail_folder(self.lanes[0].spec.name)}/{SEED}"
        types = self._types(EVENT_SCHEMA)
        provider, day = "of_provider", "CAST(of_date AS DATE)"
        return scan_day(self._root, names.STATES, types, files, empty, provider=provider, day=day)

    def _days(self) -> Iterator[dict[str, object]]:
        """Yield where the state of each day lies; also of that one which the views ask for instead of none."""
        for lane in self.lanes:
            name = lane.spec.name
            packed = {day for day, part in lane.partitions.items() if places.is_month(part.state)}
            for day in (date.min, *sorted(lane.partitions)):
                yield {"provider": name, "month": places.month_key(name, day) if day in packed else f"{name}-{day}", "date": day}

    def _tables(self) -> int:
        """Make the small tables; return the rows of the coverage."""
        ledger = Ledger(self.storage)
        opened = pa.concat_tables([EVENT_SCHEMA.empty_table(), *(ledger.open_table(lane.spec.name) for lane in self.lanes)])
        self._table("published.open_recordings", opened)
        days = [
            self._covered(lane, day) for lane in self.lanes for day in sorted(lane.partitions.keys() | lane.executions.keys())
        ]
        self._table("published.coverage", pa.Table.from_pylist(days, schema=_COVERAGE))
        info = {"published_at": self.now, "archive_root": self._root.text, "generations": self._generations()}
        self._table("catalog_info", pa.Table.from_pylist([info], schema=_INFO))
        return len(days)

    def _covered(self, lane: Lane, day: date) -> dict[str, object]:
        files = self.facts.of(lane.executions.get(day, ()))
        part = lane.partitions.get(day)
        counts = {state.value: part.states.get(state.value, 0) if part is not None else 0 for state in State}
        return {
            "provider": lane.spec.name,
            "date": day,
            "executions": sum(fact.rows for fact in files.values()),
            "recordings": part.recordings if part is not None else 0,
            **counts,
            "bytes": part.bytes if part is not None else 0,
        }

    @property
    def _root(self) -> Root:
        local = self.storage.local_path()
        return Root(str(local) if local is not None else self.storage.url)

    def _generations(self) -> list[tuple[str, int]]:
        return [(lane.spec.name, lane.snapshot.generation) for lane in self.lanes]

    def _types(self, schema: pa.Schema) -> Types:
        return types_of(self.connection, schema)

    def _scan(self, wanted: Types, files: Iterable[str], *, largest_first: bool = False) -> str:
        return scan(self.connection, self.facts, self._root, wanted, files, largest_first=largest_first)

    def _view(self, name: str, select: str) -> None:
        self.connection.execute(f"CREATE VIEW {name} AS {select}")

    def _table(self, name: str, rows: pa.Table) -> None:
        self.connection.register("incoming", rows)
        self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")  # noqa: S608 -- names of this module
        self.connection.unregister("incoming")


def commented(connection: duckdb.DuckDBPyConnection, table: Table, kind: str) -> None:
    """Write the comments of a table and of its columns; ``kind`` is TABLE or VIEW."""
    connection.execute(f"COMMENT ON {kind} {table.name} IS {literal(table.comment)}")
    for column, comment in table.columns.items():
        connection.execute(f'COMMENT ON COLUMN {table.name}."{column}" IS {literal(comment)}')


def described(connection: duckdb.DuckDBPyConnection, macro: Table) -> None:
    """Write the comment of a macro that answers like a table."""
    connection.execute(f"COMMENT ON MACRO TABLE {macro.name} IS {literal(macro.comment)}")


def _sql(name: str, **words: str) -> str:
    return Template((_SQL / f"{name}.sql").read_text()).substitute(_WORDS | words)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(literal(word) for word in sorted(words))


_SHOWN = (
    *("provider", "date", "execution_id", "leg", "state", "path", "number", "epoch", "seq", "at", "event_id"),
    *("attempts", "next_attempt_at", "outcome", "http_status", "archived_at", "bytes", "sha256", "content_type"),
    *("media_seconds", "expected_seconds", "flaw"),
)
"""What decides which event of a recording wins, and what is shown of it."""
_RECORDING = """provider,
    execution_id,
    leg,
    "date",
    state,
    attempts,
    next_attempt_at,
    -- The latest event may be about the execution, or an audit's: the copy says itself when it was made.
    CASE WHEN state = 'archived' THEN coalesce(archived_at, "at") END AS archived_at,
    path,
    bytes,
    sha256,
    content_type,
    media_seconds,
    expected_seconds,
    flaw,
    outcome AS last_outcome,
    http_status AS last_http_status"""
"""What is said of a recording, from its winning event."""
_TERMINAL = _listed(state.value for state in TERMINAL_STATES)
_WORDS = {
    "terminal": _TERMINAL,
    "open": _listed(state.value for state in OPEN_STATES),
    "not_attempts": _listed(outcome.value for outcome in NOT_ATTEMPTS),
    # As Event.order has it; the greatest wins. As one value, since DuckDB finds the first of one order without sorting.
    "order": (
        "row(state = 'archived', CASE WHEN coalesce(path, '') <> '' THEN coalesce(\"number\", 1) ELSE 0 END, epoch, "
        f'state IN ({_TERMINAL}), seq, "at", event_id)'
    ),
    "recording": _RECORDING,
    "shown": ", ".join(f'"{name}"' for name in _SHOWN),
    "event": ", ".join(f'"{name}"' for name in EVENT_SCHEMA.names),
    "packed": ", ".join("days.provider" if name == "provider" else f'"{name}"' for name in EVENT_SCHEMA.names),
    "counts": ",\n        ".join(f"CASE WHEN state = '{state}' THEN recordings ELSE 0 END AS {state}" for state in State),
    "sums": ",\n    ".join(f"sum({state})::BIGINT AS {state}" for state in State),
}
_COVERAGE = pa.schema(
    [
        ("provider", pa.string()),
        ("date", pa.date32()),
        *((name, pa.int64()) for name in ("executions", "recordings", *(state.value for state in State), "bytes")),
    ]
)
_DAYS = pa.schema([("provider", pa.string()), ("month", pa.string()), ("date", pa.date32())])
_INFO = pa.schema(
    [
        ("published_at", pa.timestamp("us", "UTC")),
        ("archive_root", pa.string()),
        ("generations", pa.map_(pa.string(), pa.int64())),
    ]
)
