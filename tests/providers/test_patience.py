"""Lists are read through faults that seconds heal, and given up when they do not."""

from __future__ import annotations

import pytest

from resources.errors import BlockedError, TransientError
from tests.providers.conftest import Make
from tests.providers.server import Canned, StubServer, json_answer
from tests.providers.world import ASTEROID, DAY, FEATHER, Case, FakeClock

EMPTY = {"asteroid": {"items": [], "page": 1, "pageSize": 100, "total": 0}, "feather": {"agentCalls": [], "pagination": {}}}


@pytest.mark.parametrize("case", [ASTEROID, FEATHER], ids=lambda case: case.name)
def test_a_list_survives_a_burst_of_faults(make: Make, server: StubServer, clock: FakeClock, case: Case) -> None:
    """Two 500s and a 429 with Retry-After in front of a page do not break the walk, and the pause that was asked for is kept."""
    busy = Canned(429, b"slow down", {"Retry-After": "7"})
    server.script(Canned(500), Canned(500), busy, json_answer(EMPTY[case.name]))
    assert not [record for page in make(case).find(DAY) for record in page.records]
    assert len(clock.naps) == 3
    assert clock.naps[-1] >= 7


@pytest.mark.parametrize("case", [ASTEROID, FEATHER], ids=lambda case: case.name)
def test_a_provider_that_is_down_is_given_up(make: Make, server: StubServer, clock: FakeClock, case: Case) -> None:
    """Endless 500s end the walk after the allowed retries; a Retry-After beyond the budget ends it at once."""
    server.respond = lambda _: Canned(500)
    with pytest.raises(TransientError):
        list(make(case, transient_retries=3).find(DAY))
    assert len(clock.naps) == 3
    server.respond = lambda _: Canned(503, b"", {"Retry-After": "3600"})
    with pytest.raises(TransientError):
        list(make(case).find(DAY))
    assert len(clock.naps) == 3


@pytest.mark.parametrize("case", [ASTEROID, FEATHER], ids=lambda case: case.name)
def test_a_wrong_key_is_not_tried_again(make: Make, server: StubServer, clock: FakeClock, case: Case) -> None:
    """A 401 on a list ends the walk without a second question."""
    server.respond = lambda _: Canned(401)
    with pytest.raises(BlockedError):
        list(make(case).find(DAY))
    assert (len(server.requests), clock.naps) == (1, [])
