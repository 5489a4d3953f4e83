"""kill -9 at every step between "link asked" and "catalog published", and the run after it.

Once each by default. ``make kill-suite`` kills twenty times each, at random hits of a failpoint, and half of the following runs
too; ``KILL_SEED`` replays what a failure has printed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from resources.failpoints import VARIABLE, Failpoint
from tests.survival.checks import check_ended, check_readers, check_wreck
from tests.survival.conftest import NewPlace, World
from tests.survival.places import Folder, Place

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("KILL_ROUNDS", "1"))
SEED = int(os.environ.get("KILL_SEED", "20261125"))

ONLY_LOCAL = frozenset(
    {Failpoint.TEMPORARY_CLAIMED, Failpoint.TEMPORARY_WRITTEN, Failpoint.TEMPORARY_SYNCED, Failpoint.FOLDER_SYNCED}
)
ONLY_OBJECT_STORAGE = frozenset({Failpoint.UPLOAD_MARKED, Failpoint.UPLOAD_BEGUN, Failpoint.UPLOAD_SENT})
OF_AUDITS = frozenset(
    {
        Failpoint.AUDIT_READ,
        Failpoint.AUDIT_NOTED,
        Failpoint.DAMAGE_NOTED,
        Failpoint.COPY_REPLACED,
        Failpoint.SIDECAR_RESTORED,
        Failpoint.REBUILT_EVENTS,
        Failpoint.REBUILT_STATE,
        Failpoint.REBUILT_MANIFEST,
    }
)
"""Those of an audit and a rebuild, which a run does not come by: their own tests stop there."""
OF_LONG_HISTORIES = frozenset({Failpoint.MONTH_WRITTEN})
"""That of past months: a world of one day has none, and its test puts some in the root before."""
MADE_ANEW = ("archive.duckdb", "catalog/", "lake/executions_read/")
"""What each run writes again: the catalog, and when it has read which day."""
OF_A_RUN = [point for point in Failpoint if point not in OF_AUDITS | OF_LONG_HISTORIES]
_KINDS = {"local": ONLY_OBJECT_STORAGE, "s3": ONLY_LOCAL}
"""Kind of root to the failpoints that it does not have."""


@pytest.fixture(scope="module")
def hits(world: World, new_place: NewPlace) -> Counter[Failpoint]:
    """Return how often a run that is not killed comes by each failpoint."""
    return Counter(world.count(new_place()))


def _kind(new_place: NewPlace) -> str:
    return "local" if isinstance(new_place(), Folder) else "s3"


def test_every_failpoint_is_on_the_way(hits: Counter[Failpoint], new_place: NewPlace) -> None:
    """One run comes by every failpoint that there is, but for those that only the other kind of root has."""
    assert set(hits) == set(OF_A_RUN) - _KINDS[_kind(new_place)]
    assert not ONLY_LOCAL & ONLY_OBJECT_STORAGE


@pytest.mark.parametrize("point", OF_A_RUN)
def test_killed_here_it_ends_well_the_next_time(
    world: World,
    new_place: NewPlace,
    hits: Counter[Failpoint],
    point: Failpoint,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing partial is visible, nothing is archived twice, nothing is lost, ledger and storage agree, nothing is left over."""
    kind = _kind(new_place)
    if point in _KINDS[kind]:
        assert not hits[point], "only the other kind of root has it, and its test stops there"
        return
    started = time.monotonic()
    for number in range(ROUNDS):
        _kill_and_check(world, new_place, hits, point, f"{SEED}/{kind}/{point}/{number}")
    if ROUNDS > 1:
        with capsys.disabled():
            seconds = time.monotonic() - started
            so_far = f"so far {world.kills} of {world.processes} processes killed"
            print(f"\n{kind}, {point}: {ROUNDS} rounds in {seconds:.0f} s; {so_far}", end="")  # noqa: T201


def _kill_and_check(world: World, new_place: NewPlace, hits: Counter[Failpoint], point: Failpoint, seed: str) -> None:
    rng = random.Random(seed)  # noqa: S311 -- moments, not secrets
    place = new_place()
    hit = rng.randint(1, hits[point])
    ended = world.kill_at(place, point, hit)
    if ended.code != -9 and hit > 1:  # a busy machine writes its events in other batches: then the first hit
        place, hit = new_place(), 1
        ended = world.kill_at(place, point, hit)
    words = f"seed {seed}: killed at {point}:{hit}"
    assert ended.code == -9, f"{words}: never came by: {ended.text}"
    try:
        published = check_wreck(place, world.truth)
        before = world.fetched()
        if ROUNDS > 1 and rng.random() < 0.5:
            second = rng.choice([each for each in Failpoint if hits[each]])
            again = rng.randint(1, hits[second])
            words += f", then at {second}:{again}"
            code = world.kill_at(place, second, again).code
            assert code in (0, -9)
            now, counted = check_wreck(place, world.truth), world.fetched()
            for name, identity in published.items():
                assert (now[name], counted[name.split("/")[3]]) == (identity, before[name.split("/")[3]])
            published, before = now, counted
        ended = world.run(place)
        assert ended.code == 0, ended.text
        check_ended(place, world.truth, published, before, world.fetched())
    except AssertionError as error:
        error.add_note(words)
        raise
    place.clear()  # twenty rounds are many gigabytes


def _months(place: Place) -> list[str]:
    """Return the names of the files of past months' states."""
    return [path.name for path in place.look().glob("lake/recordings/*/month=*/*.parquet")]


def _days(place: Place) -> int:
    """Return how many files there are of single days' states."""
    return len([*place.look().glob("lake/recordings/*/date=*/*.parquet")])


def _contents(place: Place) -> dict[str, bytes]:
    root = place.look()
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(MADE_ANEW)}


def test_killed_with_a_months_file_that_nobody_names(
    long_world: World, new_long_place: NewPlace, hits: Counter[Failpoint], new_place: NewPlace
) -> None:
    """Past days' states become one file of their month: at every stop readers are right, and the next run ends what was begun.

    The stops are the death of the process, the next one's way from the new snapshot to the catalog that stands on it, and the
    end. The file of the dead process is gone then, and one run more changes nothing.
    """
    place, truth = new_long_place(), long_world.truth
    (point,) = OF_LONG_HISTORIES
    assert long_world.kill_at(place, point, 1).code == -9
    published, before = check_wreck(place, truth), long_world.fetched()
    check_readers(place, truth)
    days = len({row["date"] for row in truth})
    (left,) = _months(place)
    assert _days(place) == days
    with long_world.paused_at(place, Failpoint.CATALOG_BUILT, 2):
        check_readers(place, truth)
        (month,) = _months(place)
        assert month != left
        assert _days(place) == days, "the catalog that is there names them"
    assert long_world.ended.code == 0, long_world.ended.text
    check_ended(place, truth, published, before, long_world.fetched())
    check_readers(place, truth)
    assert (_months(place), _days(place)) == ([month], 1)
    ended = _contents(place)
    assert long_world.run(place).code == 0
    check_ended(place, truth, published, before, long_world.fetched())
    assert _contents(place) == ended
    place.clear()
    for number in range(1, ROUNDS):
        once = Counter({**hits, point: 1})
        _kill_and_check(long_world, new_long_place, once, point, f"{SEED}/{_kind(new_place)}/{point}/{number}")


def test_a_variable_in_the_environment_kills(world: World, tmp_path: Path) -> None:
    """A process of its own, started as any other, dies where its environment says; without it, it runs to its end."""
    place = Folder(tmp_path / "archive")
    command = [sys.executable, "-m", "tests.survival.run", *(day.isoformat() for day in world.days)]
    codes = []
    for order in (f"{Failpoint.SIDECAR_WRITTEN.value}:2", ""):
        environment = {**os.environ, **world.environment(place, **{VARIABLE: order})}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
        codes.append(done.returncode)
        assert not done.stderr
    assert codes == [-9, 0]
    check_ended(place, world.truth, {}, world.fetched(), world.fetched())
