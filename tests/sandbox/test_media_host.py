"""The media origin: signatures, ranges, validators and faults, as an object store has them."""

from __future__ import annotations

import gzip
import hashlib
import time
from typing import Any

import httpx
import pytest

from tests.sandbox.client import Customer, HandClock


@pytest.fixture
def recording(customer: Customer) -> dict[str, Any]:
    """A recording that is ready and may be fetched without surprises."""
    return customer.recordings("feather", "ready")[0]


def test_bytes_are_those_of_the_truth(customer: Customer) -> None:
    """Length, SHA-256 and type of what is served are what the truth says, for each file format."""
    formats = {found["extension"]: found for found in customer.recordings(scenario="ready")}
    assert formats.keys() == {"mp4", "webm", "wav", "mp3", "ogg"}
    for found in formats.values():
        answer = customer.http.get(customer.link(found))
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == found["sha256"]
        assert int(answer.headers["Content-Length"]) == len(answer.content) == found["length"]
        assert answer.headers["Content-Type"] == found["content_type"]
        assert {"etag", "last-modified", "accept-ranges", "date"} <= answer.headers.keys()


def test_media_is_another_origin(customer: Customer, recording: dict[str, Any]) -> None:
    """Links lead to another host name and another port than the APIs."""
    link, api = httpx.URL(customer.link(recording)), httpx.URL(customer.sandbox.api_origin)
    assert link.host != api.host
    assert link.port != api.port


def test_a_link_expires(customer: Customer, clock: HandClock, recording: dict[str, Any]) -> None:
    """A Feather link is good for 300 seconds, then it is a 403 in XML that says so."""
    link = customer.link(recording)
    clock.move(299)
    assert customer.http.get(link).status_code == 200
    clock.move(1)
    answer = customer.http.get(link)
    assert answer.status_code == 403
    assert answer.headers["Content-Type"].startswith("application/xml")
    assert "<Code>AccessDenied</Code><Message>Request has expired</Message>" in answer.text


@pytest.mark.parametrize(
    ("old", "new"), [("main.", "other."), ("X-Amz-Expires=300", "X-Amz-Expires=3000"), ("us-east-1", "eu-west-1")]
)
def test_a_changed_link_is_refused(customer: Customer, recording: dict[str, Any], old: str, new: str) -> None:
    """Changing the path, the lifetime or the scope breaks the signature."""
    link = customer.link(recording)
    assert old in link
    answer = customer.http.get(link.replace(old, new))
    assert answer.status_code == 403
    assert "SignatureDoesNotMatch" in answer.text


def test_a_link_without_signature_is_refused(customer: Customer, recording: dict[str, Any]) -> None:
    """The path alone is 403; the same link at another host name is 403 too, because the host is signed."""
    link = customer.link(recording)
    assert customer.http.get(link.partition("?")[0]).status_code == 403
    assert customer.http.get(link.replace("localhost", "127.0.0.1")).status_code == 403


def test_ranges(customer: Customer, recording: dict[str, Any]) -> None:
    """First, last, middle and open ranges are 206 with Content-Range; one that begins after the end is 416."""
    link, length = customer.link(recording), recording["length"]
    whole = customer.http.get(link).content
    for header, start, stop in (
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        (f"bytes={length - 5}-", length - 5, length),
        ("bytes=-7", length - 7, length),
        (f"bytes=10-{length + 999}", 10, length),
    ):
        answer = customer.http.get(link, headers={"Range": header})
        assert answer.status_code == 206, header
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{length}"
        assert answer.content == whole[start:stop]
    beyond = customer.http.get(link, headers={"Range": f"bytes={length}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{length}")
    assert customer.http.get(link, headers={"Range": "lines=1-2"}).status_code == 200


def test_if_range_guards_a_range(customer: Customer, recording: dict[str, Any]) -> None:
    """The right ETag or date gives the range, another gives the whole."""
    link = customer.link(recording)
    head = customer.http.head(link)
    assert (head.status_code, head.content, int(head.headers["Content-Length"])) == (200, b"", recording["length"])
    for validator, status in (
        (head.headers["ETag"], 206),
        (head.headers["Last-Modified"], 206),
        ('"other"', 200),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 200),
    ):
        answer = customer.http.get(link, headers={"Range": "bytes=5-9", "If-Range": validator})
        assert answer.status_code == status, validator
    assert customer.http.get(link, headers={"If-None-Match": head.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("provider", ["asteroid", "feather", "kataven"])
def test_media_faults_of_single_recordings_heal(customer: Customer, provider: str) -> None:
    """A first GET is 500, another is cut in mid-body, a first link has expired; the second try is good each time."""
    (broken,), (cut,), (expired,) = (
        customer.recordings(provider, scenario) for scenario in ("media-500-once", "media-cut-once", "link-expired-once")
    )
    link = customer.link(broken)
    assert [customer.http.get(link).status_code for _ in range(2)] == [500, 200]
    link = customer.link(cut)
    with pytest.raises(httpx.RemoteProtocolError):
        customer.http.get(link)
    half = cut["length"] // 2
    rest = customer.http.get(link, headers={"Range": f"bytes={half}-"})
    assert (rest.status_code, len(rest.content)) == (206, cut["length"] - half)
    assert customer.http.get(customer.link(expired)).status_code == 403
    assert customer.http.get(customer.link(expired)).status_code == 200


def test_faults_of_all_media(customer: Customer, recording: dict[str, Any]) -> None:
    """Each media fault changes the answer as it says, and switching it off makes the answer good again."""
    sandbox, http = customer.sandbox, customer.http
    link, length = customer.link(recording), recording["length"]

    sandbox.set_fault("media-html")
    page = http.get(link)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    sandbox.clear_faults()

    sandbox.set_fault("media-truncate", 1000)
    with pytest.raises(httpx.RemoteProtocolError, match="received 1000 bytes"):
        http.get(link)
    sandbox.clear_faults()

    sandbox.set_fault("media-no-length", 1000)
    short = http.get(link)
    assert (short.status_code, len(short.content), "Content-Length" in short.headers) == (200, 1000, False)
    sandbox.clear_faults()

    sandbox.set_fault("media-gzip")
    with http.stream("GET", link, headers={"Accept-Encoding": "identity"}) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(gzip.decompress(b"".join(packed.iter_raw()))) == length
    sandbox.clear_faults()

    sandbox.set_fault("media-redirect", "http://127.0.0.1:1/elsewhere")
    moved = http.get(link)
    assert (moved.status_code, moved.headers["Location"]) == (302, "http://127.0.0.1:1/elsewhere")
    sandbox.clear_faults()

    sandbox.set_fault("media-no-ranges")
    assert http.get(link, headers={"Range": "bytes=5-9"}).status_code == 200
    sandbox.clear_faults()

    sandbox.set_fault("media-overlap", 3)
    overlap = http.get(link, headers={"Range": "bytes=5-9"})
    assert overlap.headers["Content-Range"] == f"bytes 2-9/{length}"
    sandbox.clear_faults()

    sandbox.set_fault("media-new-etag")
    assert http.get(link).headers["ETag"] != http.get(link).headers["ETag"]
    sandbox.clear_faults()

    sandbox.set_fault("link-expired")
    assert http.get(customer.link(recording)).status_code == 403
    sandbox.clear_faults()

    sandbox.set_fault("media-private")
    assert customer.link(recording).startswith("http://169.254.169.254/")
    sandbox.clear_faults()
    assert http.get(link).status_code == 200


def test_media_can_be_slow(customer: Customer, recording: dict[str, Any]) -> None:
    """With a byte rate the body comes in small pieces, and comes whole."""
    customer.sandbox.set_fault("media-slow", recording["length"] * 4)
    assert len(customer.http.get(customer.link(recording)).content) == recording["length"]


def test_a_client_that_goes_away_is_not_served_on(customer: Customer, recording: dict[str, Any]) -> None:
    """When the client closes a slow transfer, the sandbox stops counting bytes as sent."""
    customer.sandbox.set_fault("media-slow", 10_000)
    with customer.http.stream("GET", customer.link(recording)) as answer:
        next(answer.iter_raw())
    key = (recording["provider"], recording["execution_id"], recording["leg"])
    deadline = time.monotonic() + 5
    while customer.sandbox._stage.tally.in_flight["media"]:
        assert time.monotonic() < deadline, "it is still being served"
        time.sleep(0.01)
    assert customer.sandbox._stage.tally.of(key).media_bytes < recording["length"]


def test_leaked_keys_are_counted(customer: Customer, recording: dict[str, Any]) -> None:
    """A request at the media origin that carries a key header is counted, whatever its answer."""
    link = customer.link(recording)
    customer.http.get(link)
    assert customer.sandbox.requests()["media_header_leaks"] == 0
    for provider in ("asteroid", "feather", "kataven"):
        customer.http.get(link, headers=customer.headers(provider))
    assert customer.sandbox.requests()["media_header_leaks"] == 3
