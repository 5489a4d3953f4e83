"""The HTTP client's bounds: size, time, encodings, logs, and the seam for tests."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator

import httpx
import pytest

from resources.errors import RecordingError, SettingsError, Subject, TransientError, UnexpectedAnswerError
from resources.model import Leg
from resources.providers.api import (
    ANSWER_MAX_SECONDS,
    BODY_MAX_BYTES,
    ApiClient,
    Service,
    checked_base_url,
    phrase,
    silence_http_loggers,
)
from resources.providers.protocol import Answer
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings
from tests.providers.server import Canned, StubServer, json_answer
from tests.providers.world import FakeClock, fault_of

GOOD = {200: Answer(None, "good")}
SUBJECT = Subject("example", "e1")


def client_at(url: str, clock: FakeClock, transport: httpx.BaseTransport | None = None) -> ApiClient:
    """Return a client of an example service."""
    return ApiClient(
        Service("example", url, "EXAMPLE_BASE_URL", "EXAMPLE_API_KEY", {"X-Key": "k"}), clock.runtime, transport=transport
    )


def ask(client: ApiClient) -> RecordingError:
    """Return the error of one question."""
    error = fault_of(lambda: client.get(("x",), GOOD, SUBJECT, params={"secret": "hush"}))
    client.close()
    assert "hush" not in str(error)
    return error


def test_gzip_is_read(server: StubServer, clock: FakeClock) -> None:
    """A compressed answer comes back whole."""
    server.script(Canned(200, gzip.compress(b'{"a": [1]}'), {"Content-Encoding": "gzip"}))
    client = client_at(server.url, clock)
    assert client.get(("x",), GOOD, SUBJECT).json(dict) == {"a": [1]}
    assert server.requests[0].headers["accept-encoding"] == "gzip"
    client.close()


def test_gzip_bomb_stops_at_the_bound(server: StubServer, clock: FakeClock) -> None:
    """What counts is the size after decompression: a small body that would become a large one is given up."""
    bomb = gzip.compress(b"\0" * (BODY_MAX_BYTES + 1024), compresslevel=1)
    server.script(Canned(200, bomb, {"Content-Encoding": "gzip"}))
    error = ask(client_at(server.url, clock))
    assert isinstance(error, UnexpectedAnswerError)
    assert "64 MiB" in str(error)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "deflate"])
def test_encodings_that_were_not_asked_for_are_refused(server: StubServer, clock: FakeClock, encoding: str) -> None:
    """Two layers, or a codec without a bound on its growth, are not unpacked."""
    server.script(Canned(200, b"x", {"Content-Encoding": encoding}))
    assert isinstance(ask(client_at(server.url, clock)), UnexpectedAnswerError)


def test_broken_gzip_is_transient(server: StubServer, clock: FakeClock) -> None:
    """A body that does not decompress may come whole the next time."""
    server.script(Canned(200, b"not gzip at all", {"Content-Encoding": "gzip"}))
    assert type(ask(client_at(server.url, clock))) is TransientError


def test_dripping_body_ends(clock: FakeClock) -> None:
    """A body that comes a byte a minute is given up, though no single read is late."""

    def drip() -> Iterator[bytes]:
        while True:
            clock.seconds += 60
            yield b"x"

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=drip()))
    error = ask(client_at("http://h", clock, transport))
    assert type(error) is TransientError
    assert f"{ANSWER_MAX_SECONDS:.0f} s" in str(error)


@pytest.mark.parametrize(
    "fault", [httpx.ReadTimeout, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ReadError, httpx.PoolTimeout]
)
def test_connection_faults_are_transient_without_their_text(clock: FakeClock, fault: type[httpx.TransportError]) -> None:
    """Timeouts, resets and broken answers name the host and the kind of fault, never a query."""

    def fail(request: httpx.Request) -> httpx.Response:
        text = f"while asking {request.url}"
        raise fault(text)

    error = ask(client_at("http://h:81", clock, httpx.MockTransport(fail)))

    assert type(error) is TransientError
    assert f"h:81 ({fault.__name__})" in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_environment_proxies_are_ignored(server: StubServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes to the base URL's host, whatever HTTP_PROXY says."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.script(json_answer({}))
    client = client_at(server.url, clock)
    assert client.get(("x",), GOOD, SUBJECT).status == 200
    client.close()


def test_http_loggers_are_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole URLs are what httpx logs at INFO: making a client ends that, and keeps a stricter choice of the user."""
    monkeypatch.setattr(logging.getLogger("httpx"), "level", logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("httpcore"), "level", logging.ERROR)
    silence_http_loggers()
    assert logging.getLogger("httpx").level == logging.WARNING
    assert logging.getLogger("httpcore").level == logging.ERROR


def test_reprs_hide_secrets(server: StubServer, clock: FakeClock) -> None:
    """Neither the service nor an answer shows a header, a URL or a body in its repr."""
    server.script(Canned(200, b"private", {"Location": "http://x/?sig=y"}))
    client = client_at(server.url, clock)
    reply = client.get(("x",), GOOD, SUBJECT, params={"secret": "hush"})
    client.close()
    for hidden in ("private", "sig=y", "hush", "X-Key"):
        assert hidden not in repr(reply) + repr(client.service)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_transport_can_be_replaced(name: str, clock: FakeClock) -> None:
    """Each provider's ``build`` takes a transport, so that a test needs no socket."""
    options = {f"{name}_api_key": "key-0123456789", "kataven_sessions": "sessions.csv"}
    transport = httpx.MockTransport(lambda _: httpx.Response(401))
    provider = PROVIDERS[name].build(load_settings(None, **options), clock.runtime, transport=transport)  # type: ignore[call-arg]
    assert provider is not None
    assert fault_of(provider.link, "e1", Leg.MAIN).http_status == 401
    provider.close()


def test_deep_nesting_is_an_unexpected_answer(server: StubServer, clock: FakeClock) -> None:
    """JSON nested beyond reason is an answer that cannot be used, not a crash."""
    server.script(Canned(200, b"[" * 100_000 + b"]" * 100_000))
    client = client_at(server.url, clock)
    assert isinstance(fault_of(client.get(("x",), GOOD, SUBJECT).json, object), UnexpectedAnswerError)
    client.close()


def test_base_url_keeps_its_path() -> None:
    """Blanks and trailing slashes go, a path stays."""
    assert checked_base_url(" https://h/api/v1// ", "X") == "https://h/api/v1"
    with pytest.raises(SettingsError, match="X is not"):
        checked_base_url("", "X")


def test_statuses_have_words() -> None:
    """A known status is told with its words, an unknown one by its number."""
    assert phrase(401) == "401 Unauthorized"
    assert phrase(599) == "599"
