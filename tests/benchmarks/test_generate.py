"""A generated lake is what an archive would have made: its rows, states and trail, from one seed, also after a kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.executions import lake
from assets.executions.decode import decode
from assets.executions.ingest import expected_recordings
from assets.executions.reads import last_reads
from assets.executions.schema import BAD, EXTRA, RAW
from assets.recordings import names
from assets.recordings.audit.verification import verify_day
from assets.recordings.discovery import Finding, discover
from assets.recordings.ledger import Ledger
from assets.recordings.ledger.digests import row_digest
from assets.recordings.lifecycle import Policy, State
from assets.recordings.queue import QUEUE_COLUMNS, queue_of
from benchmarks.generate import Plan, describe, generate
from benchmarks.world.history import SPREAD, events
from benchmarks.world.plan import NOW, Unit, units
from benchmarks.world.runs import Run, runs
from benchmarks.world.scripts import SCRIPTS, script_of
from resources.failpoints import Failpoint, hooked
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage

PLAN = Plan(executions=3000, days=6, seed=7)
SMALL = Plan(executions=150, days=2, seed=7)
_STOPS = 5


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> ArchiveStorage:
    """Return the root of a generated lake. Do not change it."""
    root = tmp_path_factory.mktemp("lake")
    assert sum(made.executions for made in generate(root, PLAN)) == PLAN.executions
    return open_storage(str(root))


def made(plan: Plan) -> Iterator[tuple[Unit, list[Run]]]:
    """Yield every partition with what the generator says of it."""
    return ((unit, list(runs(unit))) for unit in units(plan.executions, plan.days, plan.seed))


def states(storage: ArchiveStorage) -> dict[tuple[str, str, str], State]:
    """Return the state of each recording."""
    ledger = Ledger(storage)
    return {
        (name, key.execution_id, key.leg.value): event.life.state
        for name in PROVIDERS
        for day in ledger.days(name)
        for key, event in ledger.read_day(name, day).items()
    }


def rows(storage: ArchiveStorage) -> Counter[str]:
    """Return the digests of all events, and the text of all executions."""
    texts = Counter(
        text
        for name, spec in PROVIDERS.items()
        for day in lake.partitions(storage, name)
        for text in lake.read_partition(storage, spec, day)[RAW].to_pylist()
    )
    return texts + Counter(row_digest(row) for name in PROVIDERS for row in Ledger(storage).events_table(name).to_pylist())


def test_the_lake_holds_the_rows_that_were_made(storage: ArchiveStorage) -> None:
    """Every execution is there, as its provider would have sent it, and was understood."""
    for unit, said in made(PLAN):
        table = lake.read_partition(storage, PROVIDERS[unit.provider], unit.day)
        assert dict(zip(table["execution_id"].to_pylist(), table[RAW].to_pylist(), strict=True)) == {
            run.row.execution_id: run.row.raw for run in said
        }
        assert table["created_at"].to_pylist() == [run.row.created_at for run in said]
        assert table["terminal"].to_pylist() == [run.ended_at is not None for run in said]
    assert describe(storage).executions == PLAN.executions


def test_some_rows_drift(storage: ArchiveStorage) -> None:
    """There are fields that no column knows, and one day in twenty has values that do not fit."""
    tables = [
        lake.read_partition(storage, spec, day) for name, spec in PROVIDERS.items() for day in lake.partitions(storage, name)
    ]
    assert any(len(table[EXTRA].drop_null()) for table in tables)
    asteroid = [unit for unit in units(20_000, 40, 7) if unit.provider == "asteroid"]
    drifting = [unit for unit in asteroid if any('"workflowVersion":3.5' in run.row.raw for run in runs(unit))]
    assert len(drifting) == 2
    for unit in drifting:
        table = decode(PROVIDERS["asteroid"], [run.row for run in runs(unit)], unit.day)
        assert 0 < len(table[BAD].drop_null()) < table.num_rows / 5


def test_every_recording_that_an_execution_should_have_is_in_the_state_of_its_script(storage: ArchiveStorage) -> None:
    """The ledger knows exactly the recordings that the executions tell of, and each ended as it was made to."""
    told = {
        (unit.provider, run.row.execution_id, leg.value): SCRIPTS[run.script].final
        for unit, said in made(PLAN)
        for run in said
        for leg in run.legs
    }
    expected = {
        (name, item.execution_id, item.leg.value)
        for name, spec in PROVIDERS.items()
        for day in lake.partitions(storage, name)
        for item in expected_recordings(spec, lake.read_partition(storage, spec, day))
    }
    assert told.keys() == expected
    assert states(storage) == told
    assert {State.ARCHIVED, State.ABSENT, State.PURGED, State.FAILED, State.BLOCKED, State.PENDING} <= set(told.values())


def test_a_run_over_the_lake_would_find_nothing_new(storage: ArchiveStorage) -> None:
    """The ledger knows of every recording what its execution says: whether and when it ended, and how long it should play."""
    ledger = Ledger(storage)
    for name, spec in PROVIDERS.items():
        for day in lake.partitions(storage, name):
            expected = expected_recordings(spec, lake.read_partition(storage, spec, day))
            found = discover(ledger, name, day, expected, run_id="run", now=NOW, policy=Policy())
            assert found == Finding(0, 0, 0, 0)


def test_one_recording_in_a_hundred_is_open_and_becomes_due_in_the_next_hours(storage: ArchiveStorage) -> None:
    """Nothing is due at the end of the past; some hours later all are that do not wait for their end."""
    found = describe(storage)
    assert 0.008 < found.open_recordings / found.recordings < 0.012
    assert found.events > 4.5 * found.executions
    for name in PROVIDERS:
        opened = Ledger(storage).open_table(name, QUEUE_COLUMNS)
        assert not queue_of(opened, NOW).due
        later = queue_of(opened, NOW + SPREAD + timedelta(minutes=2))
        assert sum(later.due.values()) + later.running == len(opened)
        assert queue_of(opened, NOW + SPREAD / 2).waiting > 0
        assert (later.running > 0) == (name != "kataven")


def test_the_trail_is_in_order(storage: ArchiveStorage) -> None:
    """Verification finds nothing but that the bytes of the copies, and the manifests over them, were never there."""
    unit = next(unit for unit, _ in made(PLAN))
    faults = [verdict for verdict in verify_day(Ledger(storage), unit.provider, unit.day) if verdict.fault]
    others = [fault for fault in faults if fault.key is None and not fault.path.startswith(names.MANIFESTS)]
    assert faults
    assert not others


def test_every_day_counts_as_read(storage: ArchiveStorage) -> None:
    """A schedule would not read the past again."""
    for name in PROVIDERS:
        assert list(last_reads(storage, name)) == lake.partitions(storage, name)


def test_an_event_file_holds_the_digests_of_its_rows() -> None:
    """What is made column by column has the digests that a writer of single events gives."""
    for unit, said in list(made(SMALL))[:3]:
        found = events(unit, said)
        assert found.digests == [row_digest(row) for row in found.table.to_pylist()]


def test_the_same_seed_makes_the_same_rows(tmp_path: Path) -> None:
    """Two lakes of one seed hold the same; another seed makes others."""
    for name, plan in (("one", SMALL), ("again", SMALL), ("other", Plan(SMALL.executions, SMALL.days, seed=8))):
        list(generate(tmp_path / name, plan))
    one, again, other = (rows(open_storage(str(tmp_path / name))) for name in ("one", "again", "other"))
    assert one == again
    assert not one & other


def test_a_run_that_is_killed_anywhere_goes_on(tmp_path: Path) -> None:
    """After a stop at any instant, and another run, the lake is what it would have been."""
    passed: list[Failpoint] = []
    with hooked(passed.append):
        list(generate(tmp_path / "whole", SMALL))
    whole = open_storage(str(tmp_path / "whole"))
    # Not where a file was just opened: this is no real kill, and nobody would close it.
    places = [number for number, point in enumerate(passed, start=1) if point is not Failpoint.TEMPORARY_CLAIMED]
    for number in places[1 :: len(places) // _STOPS]:
        root = tmp_path / str(number)
        _stopped(root, number)
        list(generate(root, SMALL))
        storage = open_storage(str(root))
        assert rows(storage) == rows(whole), f"stopped at {passed[number - 1]}, number {number}"
        assert states(storage) == states(whole)
        assert describe(storage) == describe(whole)


def test_another_lake_is_not_built_on(tmp_path: Path) -> None:
    """A root that holds other rows is refused, and stays as it is."""
    list(generate(tmp_path, SMALL))
    with pytest.raises(click.ClickException, match="another lake"):
        list(generate(tmp_path, Plan(SMALL.executions, SMALL.days, seed=8)))


@given(st.integers(0, 10**9), st.integers(1, 800))
def test_every_execution_is_planned_once(executions: int, days: int) -> None:
    """The partitions hold as many as were asked for, of each provider one after the other."""
    planned = units(executions, days, 7)
    assert sum(unit.executions for unit in planned) == executions
    for name in PROVIDERS:
        own = [unit for unit in planned if unit.provider == name]
        assert [unit.first for unit in own] == [sum(unit.executions for unit in own[:place]) for place in range(len(own))]
        assert [unit.day for unit in own] == sorted({unit.day for unit in own})


@given(st.integers(0, 10**7))
def test_shares_come_out_exact_anywhere(first: int) -> None:
    """Among any ten thousand recordings in a row, every script has its share."""
    found = Counter(script_of(number, may_run=True, is_young=False) for number in range(first, first + 10_000))
    for number, script in enumerate(SCRIPTS):
        assert found[number] == pytest.approx(script.share * 10_000, abs=10)


def _stopped(root: Path, number: int) -> None:
    """Make a lake, and stop dead at the ``number``-th failpoint."""
    left = number

    def stop(_point: Failpoint) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise _StoppedError

    with hooked(stop), pytest.raises(_StoppedError):
        list(generate(root, SMALL))


class _StoppedError(BaseException):
    """As a kill: nothing in the project catches it."""
