"""The views of the catalog: what they say is what the ledger says, also of what came after the publication."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from assets.catalog.columns import ATTEMPTS, COVERAGE, RECORDINGS, RECORDINGS_OF
from assets.catalog.publication import publish
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Outcome, State
from assets.recordings.queue import queue_at
from resources.model import Leg
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage
from tests.catalog import lakes
from tests.catalog.lakes import FAR_AHEAD, LONG_AGO, NOW, append, asked, event

EVERY_MONTH = timedelta(days=-31)
"""As if each month were over for long."""


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """Return an empty root."""
    return open_storage(str(tmp_path / "archive"))


def told(storage: ArchiveStorage, table: str, columns: Any = "*", where: str = "true") -> Counter[tuple[Any, ...]]:  # noqa: ANN401
    """Return the rows of a view."""
    shown = ", ".join(f'"{name}"' for name in columns) if columns != "*" else "*"
    return Counter(asked(_root(storage), f"SELECT {shown} FROM {table} WHERE {where}"))  # noqa: S608 -- names of this file


def check(storage: ArchiveStorage) -> None:
    """Compare every view but ``due`` with the ledger, whole and filtered."""
    recordings, attempts = lakes.recordings(storage), lakes.attempts(storage)
    assert told(storage, "recordings", RECORDINGS.columns) == recordings
    assert told(storage, "recording_attempts", ATTEMPTS.columns) == attempts
    names = [name for name in COVERAGE.columns if name not in ("executions", "bytes")]
    counted: Counter[tuple[Any, ...]] = Counter()
    for provider, on, total, *states in told(storage, "coverage", names):
        assert total == sum(states)
        counted.update({(provider, on, state): count for state, count in zip(names[3:], states, strict=True) if count})
    assert counted == lakes.coverage(storage)
    total = sum(row[9] for row in recordings.elements() if row[4] == "archived")
    assert [row[0] for row in asked(_root(storage), "SELECT coalesce(sum(bytes), 0) FROM coverage")] == [total]
    for provider in ("feather", "kataven"):
        for on in (lakes.day(0), lakes.day(2)):
            where = f"provider = '{provider}' AND \"date\" = '{on}'"
            mine = Counter({row: count for row, count in recordings.items() if row[0] == provider and row[3] == on})
            assert told(storage, "recordings", RECORDINGS.columns, where) == mine
            assert told(storage, f"recordings_of('{provider}', '{on}')", RECORDINGS.columns) == mine
    known = {(row[1], row[0], row[3]) for row in recordings}
    assert told(storage, "execution_days", ("execution_id", "provider", "date")) == Counter(known)


def _root(storage: ArchiveStorage) -> Path:
    root = storage.local_path()
    assert root is not None
    return root


EVENTS = st.builds(
    event,
    provider=st.sampled_from(["feather", "kataven"]),
    name=st.sampled_from("abc"),
    state=st.sampled_from(list(State)),
    on=st.integers(0, 2).map(lakes.day),
    leg=st.sampled_from(list(Leg)),
    seq=st.integers(1, 4),
    epoch=st.integers(0, 1),
    number=st.sampled_from([None, None, 1, 2]),
    due=st.sampled_from([LONG_AGO, FAR_AHEAD, None]),
)
STEPS = st.lists(
    st.one_of(st.lists(EVENTS, min_size=1, max_size=6), st.sampled_from(["fold", "pack", "pack_months"])), max_size=5
)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(before=STEPS, after=st.lists(st.lists(EVENTS, min_size=1, max_size=6), max_size=3), later=STEPS)
def test_the_views_say_what_the_ledger_says(
    tmp_path_factory: pytest.TempPathFactory, before: list[Any], after: list[Any], later: list[Any]
) -> None:
    """Whatever was appended, folded and compacted before a publication and after it, the views agree with the ledger."""
    storage = open_storage(str(tmp_path_factory.mktemp("root")))
    _go(storage, before)
    publish(storage, PROVIDERS.values(), NOW)
    was_open = lakes.open_keys(storage)
    _go(storage, after)
    check(storage)
    first: dict[lakes.Key, int] = {}
    for each in (each for step in after for each in step):
        key = (each.key.provider, each.key.execution_id, each.key.leg.value, each.day)
        first[key] = min(each.seq, first.get(key, each.seq))
    # Of these a fold has to say what they are; see the tests below.
    ended = {key for key, seq in first.items() if seq > 1 and key not in was_open}
    due = set(told(storage, "due", ("provider", "execution_id", "leg", "date")))
    assert due - ended == lakes.due(storage, without=ended)
    assert due & ended == set()
    _go(storage, later)
    check(storage)


def test_what_had_ended_is_due_again_when_a_person_says_so(storage: ArchiveStorage) -> None:
    """A slow run's late words about what had ended make nothing due; an operator's request does, before any fold."""
    append(storage, [event(name=name, state=State.FAILED, seq=3) for name in "ab"])
    append(storage, [event(name="c", state=State.ARCHIVED, seq=3)])
    publish(storage, PROVIDERS.values(), NOW)
    assert told(storage, "due") == Counter()
    append(storage, [event(name=name, state=State.NOT_READY, seq=9) for name in "ac"])
    append(storage, [replace(event(name="b", seq=4, epoch=1), outcome=Outcome.REQUEUED)])
    append(storage, [event(name="b", state=State.NOT_READY, seq=5, epoch=1)])
    append(storage, [event(name="new"), event(name="new", state=State.NOT_READY, seq=2), event(name="later", due=FAR_AHEAD)])
    assert {name for (name,) in told(storage, "due", ("execution_id",))} == {"b", "new"}
    assert {key[1] for key in lakes.due(storage)} == {"b", "new"}
    publish(storage, PROVIDERS.values(), NOW)
    assert {name for (name,) in told(storage, "due", ("execution_id",))} == {"b", "new"}


def test_blocked_recordings_are_due_together(storage: ArchiveStorage) -> None:
    """Who meets the same fault again asks for one of them, and that one's new time counts for all, as for the sensors."""
    blocked = [event(name=name, state=State.BLOCKED) for name in "abc"]
    append(storage, [*blocked, event(name="other"), event(provider="kataven", name="its own", state=State.BLOCKED)])
    publish(storage, PROVIDERS.values(), NOW)
    columns = ("execution_id", "next_attempt_at")
    assert told(storage, "due", columns) == Counter((name, LONG_AGO) for name in ("a", "b", "c", "other", "its own"))
    append(storage, [event(name="b", state=State.BLOCKED, seq=2, due=FAR_AHEAD)])
    for _ in range(2):
        assert told(storage, "due", columns) == Counter((name, LONG_AGO) for name in ("other", "its own"))
        queues = {provider: queue_at(Ledger(storage), provider, NOW, lakes.FIRST) for provider in PROVIDERS}
        assert {provider: sum(queue.due.values()) for provider, queue in queues.items()} == {
            "asteroid": 0,
            "feather": 1,
            "kataven": 1,
        }
        publish(storage, PROVIDERS.values(), NOW)
    append(storage, [event(name="b", state=State.ARCHIVED, seq=3)])
    assert told(storage, "due", columns) == Counter((name, LONG_AGO) for name in ("a", "c", "other", "its own"))


def test_a_day_asks_for_no_other_one(storage: ArchiveStorage) -> None:
    """``recordings_of`` reads its own day's file alone: the others may be gone. Days and providers that are not have no rows."""
    append(storage, [event(provider="feather", name=f"of {number}", on=lakes.day(number)) for number in range(3)])
    publish(storage, PROVIDERS.values(), NOW)
    append(storage, [event(provider="feather", name="later", on=lakes.day(1))])
    for path in _root(storage).glob("lake/recordings/provider=*/date=*/*.parquet"):
        if f"date={lakes.day(1)}" not in str(path):
            path.unlink()
    with duckdb.connect(str(_root(storage) / "archive.duckdb"), read_only=True) as connection:
        ask = "SELECT execution_id FROM recordings_of(?, ?) ORDER BY 1"
        assert connection.execute(ask, ["feather", lakes.day(1)]).fetchall() == [("later",), ("of 1",)]
        for provider, on in (
            ("feather", "1999-12-31"),
            ("Feather", str(lakes.day(1))),
            ("no'body", str(lakes.day(1))),
            (None, None),
        ):
            assert connection.execute(ask, [provider, on]).fetchall() == []
        with pytest.raises(duckdb.ConversionException, match="yesterday"):
            connection.execute(ask, ["feather", "yesterday"])
        kind = "SELECT function_type, parameters, comment FROM duckdb_functions() WHERE function_name = 'recordings_of'"
        assert connection.execute(kind).fetchall() == [("table_macro", ["of_provider", "of_date"], RECORDINGS_OF.comment)]


def _go(storage: ArchiveStorage, steps: list[list[Event] | str]) -> None:
    for step in steps:
        if isinstance(step, list):
            append(storage, step)
        else:
            more = (EVERY_MONTH,) if step == "pack_months" else ()
            for provider in PROVIDERS:
                getattr(Ledger(storage), step)(provider, *more)
