"""A server and clients for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from resources.errors import Subject
from resources.model import Link
from resources.transfer import AddressPolicy, MediaBody, MediaClient, MediaLimits
from tests.transfer.server import MediaServer, running_server

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SUBJECT = Subject("asteroid", "execution-1", "main")
LIMITS = MediaLimits(
    max_bytes=64 * 1024 * 1024,
    min_bytes=64,
    stall_seconds=1,
    min_bytes_per_second=1000,
    deadline_seconds=20.0,
    require_length=False,
)
MP4_HEAD = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + b"\x00" * 40

Fetch = Callable[[str], MediaBody]


def media(size: int) -> bytes:
    """Return a body of ``size`` bytes that begins as an MP4 file and repeats nowhere near a chunk border."""
    pattern = bytes(range(251))
    return (MP4_HEAD + pattern * (size // len(pattern) + 1))[:size]


@pytest.fixture
def server() -> Iterator[MediaServer]:
    """A scripted server on loopback."""
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def lasting_server() -> Iterator[MediaServer]:
    """A scripted server for the whole session, for hypothesis."""
    with running_server() as running:
        yield running


@pytest.fixture
def client() -> Iterator[MediaClient]:
    """A client that may go to loopback."""
    made = MediaClient(AddressPolicy(allow_private=True), LIMITS, now=lambda: NOW)
    yield made
    made.close()


@pytest.fixture
def fetch(client: MediaClient) -> Fetch:
    """Fetch a URL."""
    return lambda url: client.fetch(SUBJECT, Link(url, None))
