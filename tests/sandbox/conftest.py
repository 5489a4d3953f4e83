"""Sandboxes for the tests.

What a sandbox answers depends on its world, its clock, its counts and its faults alone, so one sandbox serves most tests: it is
put back to noon, without counts and faults, before each.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.options import WorldOptions
from sandbox.server import Sandbox, running_sandbox
from tests.sandbox.client import NOON, Customer, HandClock, client

SMALL = WorldOptions(recordings=90, megabytes=4)


@pytest.fixture(scope="session")
def shared() -> Iterator[tuple[Sandbox, HandClock]]:
    """One small sandbox for all tests, and its clock."""
    clock = HandClock()
    with running_sandbox(SMALL, clock=clock) as sandbox:
        yield sandbox, clock


@pytest.fixture
def clock(shared: tuple[Sandbox, HandClock]) -> HandClock:
    """The clock of the shared sandbox, at noon."""
    _, clock = shared
    clock.now = NOON
    return clock


@pytest.fixture
def customer(shared: tuple[Sandbox, HandClock], clock: HandClock) -> Iterator[Customer]:
    """A customer of the shared sandbox at noon."""
    assert clock.now == NOON
    sandbox, _ = shared
    sandbox.reset()
    sandbox.clear_faults()
    with client() as http:
        yield Customer(sandbox, http)


@pytest.fixture
def fresh_clock() -> HandClock:
    """The clock of the fresh sandbox."""
    return HandClock()


@pytest.fixture
def fresh_customer(fresh_clock: HandClock) -> Iterator[Customer]:
    """A customer of a sandbox of its own."""
    with running_sandbox(SMALL, clock=fresh_clock) as sandbox, client() as http:
        yield Customer(sandbox, http)
