"""Random worlds: whatever goes wrong, the archive ends right, and is never wrong on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.simulation import simulate

pytestmark = pytest.mark.slow

WORLDS = int(os.environ.get("SIMULATED_WORLDS", "500"))
_AT_ONCE = 25
_ROOT = Path(__file__).parents[2]
_AGAIN = "from tests.simulation.simulation import simulate; print(simulate(int({seed})).digest)"


@pytest.mark.parametrize("first", range(0, WORLDS, _AT_ONCE))
def test_every_invariant_holds_in_every_world(first: int) -> None:
    """Nothing deliverable is missing, nothing is reported that does not read back, nothing reverts, nobody is asked too much."""
    for seed in range(first, min(first + _AT_ONCE, WORLDS)):
        outcome = simulate(seed)
        assert outcome.violation is None, f"seed {seed}: {outcome.violation} (again: make simulate SEED={seed})"


def test_the_worlds_are_hard() -> None:
    """Every kind of fault, kill -9, power cuts and failing runs really come, and yet most recordings end archived."""
    outcomes = [simulate(seed) for seed in range(60)]
    kinds = {kind for outcome in outcomes for kind in outcome.faults}
    assert {kind.partition(":")[0] for kind in kinds} == {"api", "media", "range", "disk"}
    assert len(kinds) >= 20, kinds
    assert sum(outcome.killed for outcome in outcomes) > 60
    assert sum(outcome.power_cuts for outcome in outcomes) > 10
    assert sum(outcome.failed_runs for outcome in outcomes) > 60
    assert sum(outcome.archived for outcome in outcomes) > 0.8 * sum(outcome.recordings for outcome in outcomes)


def test_a_seed_replays_its_world() -> None:
    """The same seed writes the same ledger, to the event's id, also in another process with another hash seed."""
    first = simulate(9)
    again = simulate(9)
    other = subprocess.run(  # noqa: S603 -- this interpreter
        [sys.executable, "-c", _AGAIN.format(seed=9)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert first.runs > 20
    assert (again.digest, again.requests, again.faults) == (first.digest, first.requests, first.faults)
    assert other.stdout.strip() == first.digest
    assert simulate(8).digest != first.digest
