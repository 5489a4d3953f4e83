"""The invariants bite: every mistake of :mod:`tests.simulation.mutations` is noticed, in one of the first worlds."""

from __future__ import annotations

import re

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.simulation import simulate

pytestmark = pytest.mark.slow

_WORLDS = 300


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mistake_is_noticed(mutation: Mutation) -> None:
    """With the mistake in it, some world violates an invariant, and the one that was meant for it."""
    with mutation.applied():
        violations = (simulate(seed).violation for seed in range(mutation.first, mutation.first + _WORLDS))
        found = next((violation for violation in violations if violation is not None), None)
    assert found is not None, f"nothing noticed in {_WORLDS} worlds"
    assert re.search(mutation.words, found), found
