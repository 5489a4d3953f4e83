"""The checks of the kill tests notice what they are there for: each rule of the archive is broken once."""

from __future__ import annotations

import uuid
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
    "publish_before_verification": (Failpoint.PART_STORED, 2, "not the recording"),
    "event_before_publication": (Failpoint.EVENT_FILE_WRITTEN, 2, "ledger and storage do not agree"),
    "no_sidecars": (Failpoint.RECORDING_PUBLISHED, 1, "no sidecar"),
    "no_adoption": (Failpoint.SIDECAR_WRITTEN, 2, "fetched twice"),
    "no_memory": (Failpoint.SIDECAR_WRITTEN, 2, "written twice"),
    "no_manifests": (Failpoint.EVENT_FILE_WRITTEN, 2, "not in a manifest|the manifest is missing"),
    "no_sweep": (Failpoint.PART_STORED, 2, "left half-written"),
}
"""Mutation to the failpoint where its process is killed, the hit, and the words of the check that notices."""


def _kill_and_check(world: World, root: Path, point: Failpoint, hit: int, mutations: str) -> None:
    place = Folder(root)
    assert world.kill_at(place, point, hit, mutations=mutations).code == -9
    published = check_wreck(place, world.truth)
    before = world.fetched()
    ended = world.run(place, **{MUTATIONS: mutations})
    assert ended.code == 0, ended.text
    check_ended(place, world.truth, published, before, world.fetched())


def test_each_mutation_is_tried() -> None:
    """No rule is left out."""
    assert set(BITES) == set(BROKEN)


@pytest.mark.parametrize("name", list(BITES))
def test_a_broken_rule_is_noticed(world: World, tmp_path: Path, name: str) -> None:
    """Killed at the same place, the archive as it is passes, and with the rule broken the check says what is wrong."""
    point, hit, words = BITES[name]
    _kill_and_check(world, tmp_path / uuid.uuid4().hex, point, hit, "")
    with pytest.raises(AssertionError, match=words):
        _kill_and_check(world, tmp_path / uuid.uuid4().hex, point, hit, name)
