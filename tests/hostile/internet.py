"""A small internet on loopback: one address that stands for the public one, and listeners inside that nobody may reach.

Everything below Python is real: libcurl, its sockets, TCP. What cannot be had on one machine is replaced at the narrowest place:
:class:`Internet` takes 127.0.0.1 for a public address, :func:`names` gives libcurl itself the answers of a DNS server
(``CURLOPT_RESOLVE``), and :func:`sockets` counts the sockets that libcurl asks for, at addresses where nobody can listen.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pycurl  # pyright: ignore[reportMissingModuleSource]
import pytest

from assets.executions.ingest import ExpectedRecording
from assets.recordings.archiving import archive_day
from assets.recordings.discovery import discover
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from resources.archive import Archive
from resources.clock import REAL_RUNTIME
from resources.errors import Subject
from resources.model import Leg, Link
from resources.settings import load_settings
from resources.storage import open_storage
from resources.transfer import AddressPolicy, MediaClient
from resources.transfer.addresses import IPAddress
from tests.transfer.conftest import LIMITS
from tests.transfer.server import MediaServer, running_server

OUTSIDE = "127.0.0.1"
DAY = date(2026, 11, 20)
SECRET = "c0ffee-canary"  # noqa: S105 -- planted to be looked for


@dataclass(frozen=True)
class Internet(AddressPolicy):
    """Judges as always, and takes 127.0.0.1 for a public address."""

    allow_private: bool = True  # so that http may be asked there

    def check_ip(self, subject: Subject, host: str, address: IPAddress) -> None:
        """Judge all addresses but the one that stands for the public internet."""
        if address != ipaddress.ip_address(OUTSIDE):
            AddressPolicy().check_ip(subject, host, address)


@dataclass
class Inside:
    """Listeners at addresses of the inside, one port on each."""

    servers: Sequence[MediaServer]

    @property
    def connections(self) -> int:
        """How many connections were made to any of them."""
        return sum(server.connections for server in self.servers)

    def fill(self, template: str) -> str:
        """Return a URL with the ports of the listeners in it: ``{port}`` of 127.0.0.2, ``{port6}`` of ::1."""
        return template.format(port=self.servers[0].port, port6=self.servers[1].port, port1=self.servers[2].port)


@contextmanager
def inside() -> Iterator[Inside]:
    """Listen at 127.0.0.2, ::1 and 127.0.0.1."""
    with ExitStack() as stack:
        yield Inside([stack.enter_context(running_server(host)) for host in ("127.0.0.2", "::1", "127.0.0.1")])


@contextmanager
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Count the sockets that are made for libcurl."""
    made: list[object] = []

    def make(*kind: int) -> socket.socket:
        made.append(kind)
        return socket.socket(*kind)

    with monkeypatch.context() as patched:
        patched.setattr("resources.transfer.curl.socket", SimpleNamespace(socket=make))
        yield made


@contextmanager
def names(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Give libcurl the answers of a DNS server: for ``host:port`` one answer for each request, the last one for ever."""
    left = {where: deque(addresses) for where, addresses in answers.items()}

    class Resolved(pycurl.Curl):  # type: ignore[misc] -- pycurl has no types
        def reset(self) -> None:
            super().reset()
            # Without "+" an entry never leaves the cache; "-" takes out what an earlier request left there.
            entries = [f"-{where}" for where in left]
            entries += [f"{where}:{queue[0] if len(queue) == 1 else queue.popleft()}" for where, queue in left.items()]
            self.setopt(pycurl.RESOLVE, entries)

    with monkeypatch.context() as patched:
        patched.setattr("resources.transfer.curl.pycurl.Curl", Resolved)
        yield


@dataclass
class Handing:
    """A provider that hands out the links that it was told, one after the other, the last one for ever."""

    links: dict[str, list[str]]
    name: str = "asteroid"
    base_url: str = "https://api.invalid"
    asked: dict[str, int] = field(default_factory=dict[str, int])

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Return the next link."""
        del leg
        number = self.asked.get(execution_id, 0)
        self.asked[execution_id] = number + 1
        links = self.links[execution_id]
        return Link(links[min(number, len(links) - 1)], None)

    def close(self) -> None:
        """Have nothing to close."""


def archived(root: object, links: Mapping[str, Sequence[str]], policy: AddressPolicy) -> tuple[Ledger, dict[str, Event]]:
    """Run the archive over one day whose recordings have these links, and return what the ledger says of each execution."""
    settings = load_settings(None, archive_root=str(root), transient_retries=0, media_concurrency=4)
    archive = Archive(settings, open_storage(settings.archive_root), REAL_RUNTIME)
    archive._providers["asteroid"] = Handing({name: list(urls) for name, urls in links.items()})  # type: ignore[assignment]
    archive._media = MediaClient(policy, LIMITS, now=REAL_RUNTIME.now)
    ended = datetime(2026, 11, 20, tzinfo=UTC)
    expected = [ExpectedRecording(name, Leg.MAIN, terminal=True, ended_at=ended, purged_at=None) for name in links]
    ledger = Ledger(archive.storage)
    discover(ledger, "asteroid", DAY, expected, run_id="test", now=REAL_RUNTIME.now(), policy=Policy())
    archive_day(archive, "asteroid", DAY, "run-1")
    archive.close()
    return ledger, {key.execution_id: event for key, event in ledger.read_day("asteroid", DAY).items()}


def told(event: Event) -> dict[str, Any]:
    """Return what a person reads of an event."""
    return {"outcome": event.outcome.value, "state": event.life.state.value, "detail": event.detail}
