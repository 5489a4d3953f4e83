"""What an archive learnt of a day's recordings: all events of a partition, made column by column, and their rows' digests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa

from assets.recordings import names
from assets.recordings.events import SCHEMA
from assets.recordings.ledger.digests import digests_of
from benchmarks.world.plan import NOW, Unit, even
from benchmarks.world.runs import FIRST_READ, Run
from benchmarks.world.scripts import steps
from resources.settings import Settings
from sandbox.media import Container

_SQL = Path(__file__).with_name("events.sql").read_text(encoding="utf-8")
_MOMENT = pa.timestamp("us")
_READ_PAUSE = timedelta(hours=1)
SPREAD = timedelta(hours=6)
"""Within this time after :data:`~benchmarks.world.plan.NOW` the waiting recordings become due."""
_CONTAINERS = {"asteroid": Container.MP4, "feather": Container.MP3, "kataven": Container.OGG}


@dataclass(frozen=True, slots=True)
class Events:
    """All events of a partition.

    Attributes:
        table: of :data:`~assets.recordings.events.SCHEMA`, in the order in which they happened.
        digests: of its rows.
    """

    table: pa.Table
    digests: list[str]


def events(unit: Unit, made: Sequence[Run]) -> Events:
    """Return the events of the recordings of ``made``, which are all executions of ``unit``."""
    container = _CONTAINERS[unit.provider]
    values = {
        "provider": unit.provider,
        "day": unit.day,
        "seed": str(unit.seed),
        "now": NOW.replace(tzinfo=None),
        "spread_seconds": int(SPREAD.total_seconds()),
        "api_base": Settings.model_fields[f"{unit.provider}_base_url"].default,
        "extension": container.value,
        "content_type": container.content_type,
    }
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET threads = 1; SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        connection.register("recordings", _recordings(unit, made))
        connection.register("steps", _steps())
        found = connection.sql(_SQL, params=values).to_arrow_table()
    table = found.cast(SCHEMA)
    return Events(table, digests_of(table))


def _recordings(unit: Unit, made: Sequence[Run]) -> pa.Table:
    rows = [(run, leg) for run in made for leg in run.legs]
    ends = [_plain(run.ended_at) for run, _ in rows]
    eligible = [end + _READ_PAUSE * even(run.number) if end else None for end, (run, _) in zip(ends, rows, strict=True)]
    return pa.table(
        {
            "execution_id": pa.array([run.row.execution_id for run, _ in rows], pa.string()),
            "leg": pa.array([leg.value for _, leg in rows], pa.string()),
            "script": pa.array([run.script for run, _ in rows], pa.int64()),
            "seen_at": pa.array([_plain(run.row.created_at + FIRST_READ) for run, _ in rows], _MOMENT),
            "ended_at": pa.array(ends, _MOMENT),
            "eligible_at": pa.array(eligible, _MOMENT),
            "expected_seconds": pa.array([run.seconds if leg == "main" else None for run, leg in rows], pa.float64()),
            "folder": pa.array(
                [names.recording_folder(unit.provider, unit.day, run.row.execution_id) for run, _ in rows], pa.string()
            ),
        }
    )


def _plain(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=None)


@cache
def _steps() -> pa.Table:
    return steps()
