"""The checks of the kill tests notice what they are there for: each rule of the archive is broken once."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources.failpoints import Failpoint
from tests.survival.checks import check_ended, check_wreck
from tests.survival.conftest import World
from tests.survival.mutations import MUTATIONS as BROKEN
from tests.survival.nursery import MUTATIONS
from tests.survival.places import Folder

pytestmark = pytest.mark.slow

BITES = {
    "publish_before_verification": (Failpoint.LATER_CHUNK, 1, "not the recording"),
    "event_before_publication": (Failpoint.EVENT_FILE_WRITTEN, 2, "ledger and storage do not agree"),
    "no_sidecars": (Failpoint.RECORDING_PUBLISHED, 1, "no sidecar"),
    "no_adoption": (Failpoint.SIDECAR_WRITTEN, 2, "fetched twice"),
    "no_memory": (Failpoint.SIDECAR_WRITTEN, 2, "written twice"),
    "no_manifests": (Failpoint.EVENT_FILE_WRITTEN, 2, "not in a manifest|the manifest is missing"),
    "no_sweep": (Failpoint.PART_STORED, 2, "left half-written"),
}
"""Mutation to the failpoint where its process is killed, the hit, and the words of the check that notices."""


def test_each_mutation_is_tried() -> None:
    """No rule is left out."""
    assert set(BITES) == set(BROKEN)


def _run_again_and_check(world: World, place: Folder, name: str) -> None:
    published = check_wreck(place, world.truth)
    before = world.fetched()
    ended = world.run(place, **{MUTATIONS: name})
    assert ended.code == 0, ended.text
    check_ended(place, world.truth, published, before, world.fetched())


@pytest.mark.parametrize("name", list(BITES))
def test_a_broken_rule_is_noticed(world: World, tmp_path: Path, name: str) -> None:
    """Killed at this place, with the rule broken, the archive does not pass, and the check says what is wrong."""
    point, hit, words = BITES[name]
    place = Folder(tmp_path / "archive")
    assert world.kill_at(place, point, hit, mutations=name).code == -9
    with pytest.raises(AssertionError, match=words):
        _run_again_and_check(world, place, name)
