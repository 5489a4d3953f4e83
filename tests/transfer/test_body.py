"""Whole bodies arrive with the right facts; all others are refused by their kind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import NotMediaError, RecordingError, TransientError, TruncatedError
from resources.model import Link
from resources.transfer import AddressPolicy, MediaClient
from tests.transfer.conftest import LIMITS, MP4_HEAD, NOW, SUBJECT, Fetch, media
from tests.transfer.server import MediaServer, Script, answer, chunked

MIB = 1024 * 1024
_BORDERS = (64, 4096, 256 * 1024, MIB, 2 * MIB)


def test_a_good_body_and_its_facts(server: MediaServer, fetch: Fetch) -> None:
    """The container is known before the first chunk, everything else after the last."""
    body = media(3 * MIB + 17)
    headers = {"Content-Type": "binary/octet-stream", "ETag": '"abc"', "Last-Modified": "Fri, 20 Nov 2026 11:00:00 GMT"}
    server.scripts["/a"] = answer(body, headers=headers)
    with fetch(server.url("/a")) as got:
        assert got.detected.extension == "mp4"
        assert got.length == len(body)
        with pytest.raises(RuntimeError):
            _ = got.facts
        assert b"".join(got.chunks()) == body
    assert got.facts.bytes == len(body)
    assert got.facts.sha256 == hashlib.sha256(body).hexdigest()
    assert (got.facts.content_type, got.facts.extension) == ("video/mp4", "mp4")
    assert got.facts.declared_type == "binary/octet-stream"
    assert got.facts.etag == '"abc"'
    assert got.facts.last_modified == "Fri, 20 Nov 2026 11:00:00 GMT"
    assert got.facts.seconds >= 0


@given(size=st.one_of(*(st.integers(max(64, border - 3), border + 3) for border in _BORDERS)), in_chunks=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_hash_is_right_at_every_border(lasting_server: MediaServer, fetch: Fetch, size: int, in_chunks: bool) -> None:
    """Whatever the size and the framing, count and SHA-256 are those of the body."""
    body = media(size)
    lasting_server.scripts["/a"] = chunked(body, piece=65_537) if in_chunks else answer(body)
    with fetch(lasting_server.url("/a")) as got:
        received = b"".join(got.chunks())
    assert received == body
    assert got.facts.bytes == size
    assert got.facts.sha256 == hashlib.sha256(body).hexdigest()


def test_chunks_are_about_a_mebibyte(server: MediaServer, fetch: Fetch) -> None:
    """A large body comes in pieces that are worth a write and bound the memory."""
    server.scripts["/a"] = answer(media(20 * MIB))
    with fetch(server.url("/a")) as got:
        sizes = [len(chunk) for chunk in got.chunks()]
    assert min(sizes[:-1]) >= MIB
    assert max(sizes) <= 4 * MIB


def test_the_connection_is_used_again(server: MediaServer, fetch: Fetch) -> None:
    """One fetch after another needs one connection."""
    server.scripts["/a"] = answer(media(1000))
    for _ in range(5):
        with fetch(server.url("/a")) as got:
            assert len(b"".join(got.chunks())) == 1000
    assert len(server.requests) == 5
    assert server.connections == 1


def test_threads_share_a_client(server: MediaServer, fetch: Fetch) -> None:
    """Many threads fetch different bodies through one client, and none gets another's bytes."""
    bodies = {f"/{number}": media(200_000) + bytes([number]) * 1000 for number in range(32)}
    for path, body in bodies.items():
        server.scripts[path] = answer(body)

    def take(path: str) -> bool:
        with fetch(server.url(path)) as got:
            return b"".join(got.chunks()) == bodies[path]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(take, bodies))


def test_the_request_is_bare(server: MediaServer, fetch: Fetch) -> None:
    """No key, no cookie, no referrer goes out; only plain bytes are asked for."""
    server.scripts["/a"] = answer(media(100))
    with fetch(server.url("/a")) as got:
        assert list(got.chunks())
    assert set(server.requests[0].headers) == {"host", "accept", "accept-encoding", "user-agent"}
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_the_signed_url_is_asked_for_as_it_was_signed(server: MediaServer, fetch: Fetch) -> None:
    """Dots, escapes and an odd query reach the host unchanged."""
    target = "/a/../b%2Fc/./d%20e?sig=a%2Fb+c=&x[1]={y}"
    server.scripts["/a/../b%2Fc/./d%20e"] = answer(media(100))
    with fetch(f"http://{server.host}:{server.port}{target}") as got:
        assert list(got.chunks())
    assert server.requests[0].target == target


_HTML = b"<!DOCTYPE html><html><title>Signed out</title>" + b" " * 200
_REFUSED_BODIES: Mapping[str, tuple[Script, type[RecordingError], str]] = {
    "an HTML page": (answer(_HTML, headers={"Content-Type": "video/mp4"}), NotMediaError, "HTML"),
    "a JSON document": (answer(b'{"error": "gone", "pad": "' + b"x" * 99), NotMediaError, "JSON"),
    "an S3 error": (answer(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>' + b" " * 99), NotMediaError, "XML"),
    "gzip as encoding": (answer(media(500), headers={"Content-Encoding": "gzip"}), NotMediaError, "encoded"),
    "gzip as a body": (answer(b"\x1f\x8b\x08" + b"\0" * 99), NotMediaError, "gzip"),
    "gzip as transfer coding": (
        answer(media(500), headers={"Transfer-Encoding": "gzip, chunked"}, length=None),
        NotMediaError,
        "coding",
    ),
    "too small by its length": (answer(MP4_HEAD[:63]), NotMediaError, "MEDIA_MIN_BYTES"),
    "nothing": (answer(b""), NotMediaError, "MEDIA_MIN_BYTES"),
    "too small when it came": (chunked(MP4_HEAD[:40]), NotMediaError, "MEDIA_MIN_BYTES"),
    "too large by its length": (answer(media(100), length=65 * MIB), NotMediaError, "MEDIA_MAX_BYTES"),
    "no length": (answer(media(500), length=None), NotMediaError, "length"),
    "cut in its first bytes": (answer(media(5000), cut=10), TruncatedError, "ended before"),
    "cut in the middle": (answer(media(3 * MIB), cut=2 * MIB), TruncatedError, "ended before"),
    "cut before its last byte": (answer(media(3 * MIB), cut=3 * MIB - 1), TruncatedError, "ended before"),
    "chunked and cut": (chunked(media(10_000), finish=False), TruncatedError, "ended before"),
}


def test_a_body_without_a_length_is_refused_where_one_is_required(server: MediaServer) -> None:
    """By default a chunked body is no proof of a whole recording, however well it ends; the message names the setting."""
    server.scripts["/a"] = chunked(media(10_000))
    strict = MediaClient(AddressPolicy(allow_private=True), replace(LIMITS, require_length=True), now=lambda: NOW)
    with pytest.raises(NotMediaError, match="MEDIA_REQUIRE_LENGTH"), strict.fetch(SUBJECT, Link(server.url("/a"), None)):
        pass
    strict.close()


@pytest.mark.parametrize("what", _REFUSED_BODIES)
def test_what_is_no_whole_recording_is_refused(server: MediaServer, fetch: Fetch, what: str) -> None:
    """Each bad body ends in an error of its kind, and never in a normal end of the chunks."""
    script, kind, words = _REFUSED_BODIES[what]
    server.scripts["/a"] = script
    with pytest.raises(kind, match=words) as caught, fetch(server.url("/a")) as got:
        for _ in got.chunks():
            pass
    assert type(caught.value) is kind
    assert caught.value.subject == SUBJECT
    assert "Signature" not in str(caught.value)


def test_a_body_that_grows_too_large_is_stopped(server: MediaServer) -> None:
    """A chunked body announces nothing, and is cut off at the limit."""
    limits = replace(LIMITS, max_bytes=2 * MIB)
    client = MediaClient(AddressPolicy(allow_private=True), limits, now=lambda: NOW)
    server.scripts["/a"] = chunked(media(8 * MIB), piece=100_000)
    with pytest.raises(NotMediaError, match="MEDIA_MAX_BYTES"), client.fetch(SUBJECT, Link(server.url("/a"), None)) as got:
        assert sum(len(chunk) for chunk in got.chunks()) <= 2 * MIB
    client.close()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + media(2000)], ids=["answer", "body"])
def test_a_stall_is_transient(server: MediaServer, fetch: Fetch, sent: bytes) -> None:
    """A host that goes silent before or within the body is given up after the stall time."""
    server.scripts["/a"] = server.hang_after(sent)
    with pytest.raises(TransientError, match="stalled") as caught, fetch(server.url("/a")) as got:
        for _ in got.chunks():
            pass
    assert type(caught.value) is TransientError


def test_the_deadline_covers_all_hops(server: MediaServer) -> None:
    """When the time for everything is over, the next hop is not asked."""
    ticks = iter([0.0, 0.0, 21.0])
    client = MediaClient(AddressPolicy(allow_private=True), LIMITS, now=lambda: NOW, monotonic=lambda: next(ticks))
    server.scripts["/a"] = answer(status=302, headers={"Location": "/b"})
    with pytest.raises(TransientError, match="MEDIA_DEADLINE_SECONDS"):
        client.fetch(SUBJECT, Link(server.url("/a"), None))
    assert [request.path for request in server.requests] == ["/a"]
    client.close()


def test_an_abandoned_body_does_not_spoil_the_next(server: MediaServer, fetch: Fetch) -> None:
    """A consumer that gives up in the middle leaves nothing of that body for the next fetch."""
    server.scripts["/a"] = answer(media(30 * MIB))
    server.scripts["/b"] = answer(media(100))
    with fetch(server.url("/a")) as got:
        next(got.chunks())
    with fetch(server.url("/b")) as got:
        assert b"".join(got.chunks()) == media(100)
    with pytest.raises(RuntimeError):
        next(got.chunks())


def test_a_closed_client_fetches_nothing(server: MediaServer, client: MediaClient, fetch: Fetch) -> None:
    """After close there are no transfers, and no connections."""
    client.close()
    with pytest.raises(RuntimeError):
        fetch(server.url("/a"))
    assert server.connections == 0
