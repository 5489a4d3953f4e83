"""Every status, every refusal of a connection and every redirect has one meaning."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest

from resources.errors import (
    LinkExpiredError,
    NotMediaError,
    RateLimitedError,
    RecordingError,
    TransientError,
    UnexpectedAnswerError,
)
from resources.model import Link
from resources.transfer import MEDIA_ANSWERS, MediaClient
from resources.transfer.answers import CURL_FAULTS, fault_of
from tests.transfer.conftest import NOW, SUBJECT, Fetch, media
from tests.transfer.server import SECRET_QUERY, MediaServer, answer

_BEYOND_THE_TABLE = {
    204: UnexpectedAnswerError,
    206: UnexpectedAnswerError,
    304: UnexpectedAnswerError,
    405: UnexpectedAnswerError,
    416: UnexpectedAnswerError,
    451: UnexpectedAnswerError,
    500: TransientError,
    502: TransientError,
    503: TransientError,
    504: TransientError,
    599: TransientError,
}
_ALL = {status: known.error for status, known in MEDIA_ANSWERS.items() if known.error} | _BEYOND_THE_TABLE


@pytest.mark.parametrize("status", _ALL)
def test_each_status_is_one_kind_of_error(server: MediaServer, fetch: Fetch, status: int) -> None:
    """The status decides before any byte of the body counts, even if the body is a recording."""
    server.scripts["/a"] = answer(b"" if status in {204, 304} else media(500), status=status)
    with pytest.raises(RecordingError) as caught:
        fetch(server.url("/a"))
    assert type(caught.value) is _ALL[status]
    assert caught.value.http_status == status
    assert caught.value.subject == SUBJECT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0), ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0), ("soon", None), ("-5", None)],
)
@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitedError), (503, TransientError)])
def test_retry_after_is_kept(
    server: MediaServer, fetch: Fetch, header: str, seconds: float | None, status: int, kind: type[RecordingError]
) -> None:
    """The host's wish is handed on in seconds, in both of its spellings, and nonsense is none."""
    server.scripts["/a"] = answer(status=status, headers={"Retry-After": header})
    with pytest.raises(kind) as caught:
        fetch(server.url("/a"))
    assert caught.value.retry_after == seconds


def test_a_lapsed_link_is_not_asked_for(server: MediaServer, client: MediaClient) -> None:
    """A link whose time is over costs no connection; one that has a moment left does."""
    server.scripts["/a"] = answer(media(100))
    with pytest.raises(LinkExpiredError):
        client.fetch(SUBJECT, Link(server.url("/a"), NOW))
    assert server.connections == 0
    with client.fetch(SUBJECT, Link(server.url("/a"), NOW + timedelta(seconds=1))) as got:
        assert list(got.chunks())


def test_redirects_are_followed_by_hand(server: MediaServer, fetch: Fetch) -> None:
    """Three hops are fine, absolute and relative, and each is a plain request."""
    server.scripts["/a"] = answer(b"moved", status=302, headers={"Location": server.url("/b")})
    server.scripts["/b"] = answer(status=307, headers={"Location": "c?x=1"})
    server.scripts["/c"] = answer(status=303, headers={"Location": "/d"})
    server.scripts["/d"] = answer(media(100))
    with fetch(server.url("/a")) as got:
        assert b"".join(got.chunks()) == media(100)
    assert [request.path for request in server.requests] == ["/a", "/b", "/c", "/d"]
    assert all("referer" not in request.headers for request in server.requests)


@pytest.mark.parametrize("target", ["/a", ""])
def test_redirects_that_lead_nowhere_are_unexpected(server: MediaServer, fetch: Fetch, target: str) -> None:
    """A loop and a redirect without a target end in an error."""
    server.scripts["/a"] = answer(status=301, headers={"Location": target} if target else {})
    with pytest.raises(UnexpectedAnswerError):
        fetch(server.url("/a"))
    assert len(server.requests) <= 4


def test_a_refused_connection_is_transient(fetch: Fetch) -> None:
    """A host that does not listen may listen later."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(TransientError, match="does not accept connections"):
            fetch(f"http://127.0.0.1:{port}/a?{SECRET_QUERY}")


def test_an_unknown_name_is_transient(fetch: Fetch) -> None:
    """A name that cannot be resolved may be a hiccup of DNS."""
    with pytest.raises(TransientError, match="cannot be resolved"):
        fetch(f"http://nowhere.invalid/a?{SECRET_QUERY}")


def test_libcurls_codes_have_meanings() -> None:
    """Each known code has words, and an unknown one is transient and names its number."""
    assert all(fault.meaning for fault in CURL_FAULTS.values())
    unknown = fault_of(9999, body_began=True)
    assert unknown.error is TransientError
    assert "9999" in unknown.meaning


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "script",
    [
        answer(status=403),
        answer(status=500, body=f"see /x?{SECRET_QUERY}".encode()),
        answer(f'<html><a href="https://h/x?{SECRET_QUERY}">'.encode() + b" " * 99),
        answer(f"/x?{SECRET_QUERY}".encode() + b" " * 99),
        answer(media(500), cut=99),
        answer(media(500), headers={"Content-Encoding": f"x?{SECRET_QUERY}"}),
        answer(b"plain text, at some length, that is no recording at all......................", headers={
            "Content-Type": f"https://h/x?{SECRET_QUERY}"}),
        answer(status=302, headers={"Location": f"ftp://host/x?{SECRET_QUERY}"}),
        answer(status=302, headers={"Location": f"http://user:pw@host/x?{SECRET_QUERY}"}),
        answer(status=302, headers={"Location": f"http://[bad?{SECRET_QUERY}"}),
        answer(status=302, headers={"Location": f"http://nowhere.invalid/x?{SECRET_QUERY}"}),
        answer(status=302, headers={"Location": f"http://127.0.0.1:1/x?{SECRET_QUERY}"}),
    ],
)  # fmt: skip
def test_no_error_holds_a_query_string(
    server: MediaServer, fetch: Fetch, script: object, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the error, nor its causes, nor standard error ever show the signature."""
    server.scripts["/a"] = script  # type: ignore[assignment]
    with pytest.raises(RecordingError) as caught, fetch(server.url("/a")) as got:
        list(got.chunks())
    captured = capfd.readouterr()
    for text in [*(f"{error} {error!r} {error.args}" for error in _chain(caught.value)), captured.out, captured.err]:
        assert "s3cr3t" not in text
        assert "X-Amz" not in text


def test_a_link_hides_itself() -> None:
    """The repr of a link shows no URL."""
    assert "s3cr3t" not in repr(Link(f"https://h/x?{SECRET_QUERY}", None))


def test_not_media_says_what_came_in_a_short_safe_form(server: MediaServer, fetch: Fetch) -> None:
    """The message names the kind and the declared type; the beginning of the body is beside it, for the quarantine alone."""
    server.scripts["/a"] = answer(b"<html>\x1b[31m\n\x00Sign in to continue" + b"y" * 5000, headers={"Content-Type": "text/html"})
    with pytest.raises(NotMediaError) as caught:
        fetch(server.url("/a"))
    assert "an HTML page" in caught.value.detail
    assert "text/html" in caught.value.detail
    assert "Sign in" not in caught.value.detail
    assert caught.value.evidence is not None
    assert b"Sign in to" in caught.value.evidence.head
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 250
