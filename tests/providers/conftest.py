"""The world of the provider tests: a server, a clock that only sleeping moves, and the three providers on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resources.providers.protocol import Provider
from tests.providers.server import StubServer
from tests.providers.world import CASES, Case, FakeClock


@pytest.fixture
def server() -> Iterator[StubServer]:
    """A server that stands in for a provider."""
    stub = StubServer()
    yield stub
    stub.stop()


@pytest.fixture
def other_server() -> Iterator[StubServer]:
    """A server on another origin, such as a media host."""
    stub = StubServer()
    yield stub
    stub.stop()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only sleeping moves."""
    return FakeClock()


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Each provider in turn."""
    return request.param


Make = Callable[..., Provider]


@pytest.fixture
def make(server: StubServer, clock: FakeClock, tmp_path: Path) -> Iterator[Make]:
    """Make a provider's client on the server, with settings on top of the case's own."""
    made: list[Provider] = []

    def build(case: Case, **settings: object) -> Provider:
        provider = case.build(server.url, tmp_path, clock, **settings)
        made.append(provider)
        return provider

    yield build
    for provider in made:
        provider.close()
