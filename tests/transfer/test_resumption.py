"""A broken body goes on where it stopped, and only with bytes that are proven to belong to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import (
    AbsentError,
    LinkExpiredError,
    NotContinuedError,
    NotMediaError,
    NotReadyError,
    RateLimitedError,
    RecordingError,
    TransientError,
    TruncatedError,
)
from resources.model import Link
from resources.patience import FRESH_LINKS, Patience
from resources.transfer import AddressPolicy, MediaBody, MediaClient, MediaLimits
from resources.transfer.resumption import MATRIX, NO_VALIDATOR, Offer, Validator, Verdict, validator_of
from resources.transfer.stream import KEPT_BYTES
from tests.transfer.conftest import LIMITS, NOW, SUBJECT, media
from tests.transfer.objects import DATE, ETAG, Hosted, join
from tests.transfer.server import MediaServer, Script, answer, chunked

MIB = 1024 * 1024
SIZE = 20_000
CUT = 9_000
BODY = media(SIZE)
LONG_CUT = 3 * MIB
LONG = media(LONG_CUT + SIZE)
OLD = "Fri, 20 Nov 2026 11:00:00 GMT"
_SETTLED = "Fri, 20 Nov 2026 11:59:00 GMT"


def rest(first: int, last: int, *, body: bytes = BODY, total: int | str = SIZE, **headers: str | None) -> Script:
    """Return an answer with a range; a header that is None is left out."""
    told = {"Content-Range": f"bytes {first}-{last}/{total}", "ETag": ETAG} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return answer(body[first : last + 1], status=206, headers={name: value for name, value in told.items() if value is not None})


@dataclass(frozen=True)
class Case:
    """What follows a break, and which row of the matrix it is."""

    second: Script
    body: bytes = BODY
    cut: int = CUT
    first: Script | None = None


_RIGHT = {"Content-Range": f"bytes {CUT}-{SIZE - 1}/{SIZE}", "ETag": ETAG}
_OTHER = BODY[: CUT - 50] + bytes(SIZE - CUT + 50)
CASES: Mapping[str, Case] = {
    "no validator": Case(rest(CUT, SIZE - 1), first=answer(BODY, headers={"ETag": f"W/{ETAG}"}, cut=CUT)),
    "200": Case(answer(BODY, headers={"ETag": ETAG})),
    "416": Case(answer(status=416, headers={"Content-Range": f"bytes */{SIZE}"})),
    "another status": Case(answer(status=412)),
    "encoded": Case(rest(CUT, SIZE - 1, Content_Encoding="gzip")),
    "multipart": Case(rest(CUT, SIZE - 1, Content_Type="multipart/byteranges; boundary=x")),
    "no Content-Range": Case(rest(CUT, SIZE - 1, Content_Range=None)),
    "validator missing": Case(rest(CUT, SIZE - 1, ETag=None)),
    "validator changed": Case(rest(CUT, SIZE - 1, ETag='"another"')),
    "another total": Case(rest(CUT, SIZE - 1, total=SIZE + 1)),
    "end unknown": Case(rest(CUT, SIZE - 1, total="*"), first=chunked(BODY[:CUT], finish=False, headers={"ETag": ETAG})),
    "beyond the end": Case(rest(CUT, SIZE, body=BODY + b"x", total="*")),
    "another count": Case(rest(CUT, SIZE - 1, Content_Range=f"bytes {CUT}-{SIZE - 2}/{SIZE}")),
    "gap": Case(rest(CUT + 1, SIZE - 1)),
    "nothing new": Case(rest(CUT - 100, CUT - 1)),
    "overlap too long": Case(rest(0, len(LONG) - 1, body=LONG, total=len(LONG)), body=LONG, cut=LONG_CUT),
    "overlap": Case(rest(CUT - 100, SIZE - 1)),
    "shorter": Case(rest(CUT, SIZE - 500)),
    "no length": Case(answer(BODY[CUT:], status=206, length=None, headers=_RIGHT)),
    "as asked": Case(rest(CUT, SIZE - 1)),
}  # fmt: skip
ROWS = {row.name: row for row in MATRIX}

Resume = Callable[[], MediaBody]


def scripted(server: MediaServer, client: MediaClient, *scripts: Script) -> Resume:
    """Have each link lead to the next script, the last one for ever; return what fetches."""
    for number, script in enumerate(scripts):
        server.scripts[f"/{number}"] = script
    issued = iter(range(1, 1000))
    refresh: Callable[[], Link] = lambda: Link(server.url(f"/{min(next(issued), len(scripts) - 1)}"), None)  # noqa: E731
    return lambda: client.fetch(SUBJECT, Link(server.url("/0"), None), refresh)


def test_every_row_of_the_matrix_has_its_case() -> None:
    """The table of the code and that of the tests are of the same rows, and each row says why."""
    assert set(CASES) == {row.name for row in MATRIX}
    assert len({row.why for row in MATRIX}) == len(MATRIX)


@pytest.mark.parametrize("name", CASES)
def test_the_matrix(server: MediaServer, client: MediaClient, name: str) -> None:
    """What is proven goes on and gives the right bytes; everything else ends in an error, and never in a normal end."""
    case = CASES[name]
    first = case.first or answer(case.body, headers={"ETag": ETAG}, cut=case.cut)
    final = rest(SIZE - 499, SIZE - 1)  # only "shorter" comes to this
    fetch = scripted(server, client, first, case.second, final)
    row = ROWS[name]
    if row.verdict is Verdict.START_OVER:
        kind = TruncatedError if row is NO_VALIDATOR else NotContinuedError
        with pytest.raises(kind) as caught, fetch() as got:
            join(got.chunks())
        assert row.why in caught.value.detail
        assert not caught.value.exhausted
        with pytest.raises(RuntimeError):
            _ = got.facts
    else:
        with fetch() as got:
            assert join(got.chunks()) == case.body
        assert got.facts.sha256 == hashlib.sha256(case.body).hexdigest()
        assert got.facts.bytes == len(case.body)
        assert got.facts.continuations == (2 if name == "shorter" else 1)
        assert got.facts.refetched == (100 if name == "overlap" else 0)
    if row is NO_VALIDATOR:
        assert len(server.requests) == 1
    else:
        asked = server.requests[1].headers
        assert (asked["range"], asked["if-range"]) == (f"bytes={case.cut}-", ETAG)


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes", "bytes 9-", "items 9-19/20", "bytes 19-9/20", "bytes 9-19/15", "bytes 9-19/20, bytes 1-2/3", "bytes -9-9/20"],
)
def test_a_content_range_that_makes_no_sense_is_none(content_range: str) -> None:
    """Half a range, another unit, a contradiction and several of them say nothing."""
    assert Offer(206, {"content-range": content_range}).span is None


def test_an_overlap_with_other_bytes_is_no_continuation(server: MediaServer, client: MediaClient) -> None:
    """The bytes that come again are compared: a host that repeats the ETag for other bytes is found out."""
    fetch = scripted(server, client, answer(BODY, headers={"ETag": ETAG}, cut=CUT), rest(CUT - 100, SIZE - 1, body=_OTHER))
    with pytest.raises(NotContinuedError, match="are others"), fetch() as got:
        join(got.chunks())


def test_the_longest_overlap_that_is_kept_is_compared(server: MediaServer, client: MediaClient) -> None:
    """Up to the bytes that are kept, an overlap goes on, also when it breaks within."""
    first = answer(LONG, headers={"ETag": ETAG}, cut=LONG_CUT)
    told = {"Content-Range": f"bytes {LONG_CUT - KEPT_BYTES}-{len(LONG) - 1}/{len(LONG)}", "ETag": ETAG}
    second = answer(LONG[LONG_CUT - KEPT_BYTES :], status=206, headers=told, cut=1000)
    third = answer(LONG[LONG_CUT - KEPT_BYTES :], status=206, headers=told)
    with scripted(server, client, first, second, third)() as got:
        assert join(got.chunks()) == LONG
    assert got.facts.refetched == KEPT_BYTES + 1000


def test_more_bytes_than_the_range_says_are_not_taken(server: MediaServer, client: MediaClient) -> None:
    """A body without a length is held to its Content-Range."""
    second = answer(BODY[CUT:] + b"more", status=206, length=None, headers=_RIGHT)
    fetch = scripted(server, client, answer(BODY, headers={"ETag": ETAG}, cut=CUT), second)
    with pytest.raises(NotContinuedError, match="more bytes"), fetch() as got:
        join(got.chunks())


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": ETAG, "last-modified": OLD}, Validator("etag", ETAG)),
        ({"etag": '""'}, Validator("etag", '""')),
        ({"etag": f"W/{ETAG}"}, None),
        ({"etag": f"W/{ETAG}", "last-modified": OLD, "date": DATE}, None),
        ({"etag": "bare", "last-modified": OLD, "date": DATE}, None),
        ({"etag": f"{ETAG}, {ETAG}"}, None),
        ({"last-modified": OLD, "date": DATE}, Validator("last-modified", OLD)),
        ({"last-modified": OLD}, None),
        ({"last-modified": _SETTLED, "date": DATE}, Validator("last-modified", _SETTLED)),
        ({"last-modified": "Fri, 20 Nov 2026 11:59:01 GMT", "date": DATE}, None),
        ({"last-modified": "Fri, 20 Nov 2026 13:00:00 GMT", "date": DATE}, None),
        ({"last-modified": "lately", "date": DATE}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_which_validator_is_strong_enough(headers: dict[str, str], validator: Validator | None) -> None:
    """RFC 9110, 13.1.5: a strong ETag; a date only without any ETag, and only one that is clearly older than the answer."""
    assert validator_of(headers) == validator


def test_a_date_is_enough_where_there_is_no_etag(server: MediaServer, client: MediaClient) -> None:
    """A host without ETags is asked by its own date, letter for letter."""
    hosted = Hosted(server, BODY, cuts=[CUT], validators={"Last-Modified": OLD, "Date": DATE})
    with client.fetch(SUBJECT, hosted.link(), hosted.link) as got:
        assert join(got.chunks()) == BODY
    assert hosted.asked[1].headers["if-range"] == OLD


@given(
    size=st.sampled_from([64, 5_000, 300_000, 2 * MIB + 7]),
    cuts=st.lists(st.one_of(st.integers(0, 5_000), st.integers(0, 2 * MIB)), max_size=12),
    in_chunks=st.booleans(),
    once=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_honest_host_that_breaks_anywhere_any_number_of_times(
    lasting_server: MediaServer, client: MediaClient, *, size: int, cuts: list[int], in_chunks: bool, once: bool
) -> None:
    """Whatever the breaks, the bytes and the hash are those of the body, and no byte is sent twice."""
    if any(not any(cuts[at : at + FRESH_LINKS]) for at in range(len(cuts) - FRESH_LINKS + 1)):
        cuts = [cut or 1 for cut in cuts]  # links in a row that bring nothing are the end, as they should be
    lasting_server.requests.clear()  # hypothesis prints the fixture
    hosted = Hosted(lasting_server, media(size), cuts=list(cuts), chunked=in_chunks, once=once)
    with client.fetch(SUBJECT, hosted.link(), hosted.link) as got:
        assert join(got.chunks()) == hosted.body
    assert got.facts.sha256 == hashlib.sha256(hosted.body).hexdigest()
    assert hosted.sent == size
    assert got.facts.continuations == len(hosted.asked) - 1 == hosted.links - 1


def test_a_large_body_that_breaks_near_its_end_is_not_fetched_again(server: MediaServer, client: MediaClient) -> None:
    """64 MiB, cut at 90 %, the link used up: the rest comes by a fresh link, and at most 5 % more than the body is sent."""
    size = 64 * MIB
    hosted = Hosted(server, media(size), cuts=[size * 9 // 10], once=True)
    digest = hashlib.sha256()
    with client.fetch(SUBJECT, hosted.link(), hosted.link) as got:
        for chunk in got.chunks():
            digest.update(chunk)
    assert got.facts.bytes == size
    assert digest.digest() == hashlib.sha256(hosted.body).digest()
    assert [request.target[-4:] for request in hosted.asked] == ["&n=1", "&n=2"]
    assert hosted.sent <= size * 1.05
    assert got.facts.refetched == 0


# -- links


def test_without_a_way_to_a_fresh_link_a_break_is_the_end(server: MediaServer, client: MediaClient) -> None:
    """Who gives no refresh learns of the break as before."""
    hosted = Hosted(server, BODY, cuts=[CUT])
    with pytest.raises(TruncatedError, match="ended before"), client.fetch(SUBJECT, hosted.link()) as got:
        join(got.chunks())
    assert len(hosted.asked) == 1


@pytest.mark.parametrize("lapsed", [1, FRESH_LINKS - 1])
def test_links_that_lapse_are_replaced(server: MediaServer, client: MediaClient, lapsed: int) -> None:
    """A fresh link that is dead on arrival, by its own time or by the host's word, costs another link and nothing else."""
    hosted = Hosted(server, BODY, cuts=[CUT])
    server.scripts["/gone"] = answer(status=403)
    dead = iter([Link(server.url("/gone"), None), Link(hosted.link().url, NOW), Link(server.url("/gone"), None)][:lapsed])
    with client.fetch(SUBJECT, hosted.link(), lambda: next(dead, None) or hosted.link()) as got:
        assert join(got.chunks()) == BODY
    assert got.facts.continuations == 1


@pytest.mark.parametrize("what", ["lapsed", "empty", "turns"])
def test_links_that_bring_no_byte_are_counted(server: MediaServer, client: MediaClient, what: str) -> None:
    """Refused or cut before their first byte, a few in a row are the end; the whole may be tried again."""
    refused = answer(status=403)
    empty = answer(BODY[CUT:], status=206, headers=_RIGHT, cut=0)
    pattern = {"lapsed": (refused,), "empty": (empty,), "turns": (refused, empty)}[what] * 10
    fetch = scripted(server, client, answer(BODY, headers={"ETag": ETAG}, cut=CUT), *pattern)
    with pytest.raises(NotContinuedError) as caught, fetch() as got:
        join(got.chunks())
    assert len(server.requests) == 1 + FRESH_LINKS
    assert not caught.value.exhausted


@pytest.mark.parametrize(
    "error",
    [
        NotReadyError(SUBJECT, "not yet"),
        AbsentError(SUBJECT, "none", certain=False),
        RateLimitedError(SUBJECT, "slow", retry_after=900),
    ],
)
def test_what_the_provider_says_instead_of_a_link_comes_out(
    server: MediaServer, client: MediaClient, error: RecordingError
) -> None:
    """Its answer is the outcome of the try, not the break."""
    hosted = Hosted(server, BODY, cuts=[CUT])

    def refuse() -> Link:
        raise error

    with pytest.raises(type(error)) as caught, client.fetch(SUBJECT, hosted.link(), refuse) as got:
        join(got.chunks())
    assert caught.value is error


@pytest.fixture
def slept() -> list[float]:
    """The pauses that were wished for."""
    return []


@pytest.fixture
def patient(slept: list[float]) -> Iterator[MediaClient]:
    """A client that tries again, and does not sleep."""
    patience = Patience(retries=2, budget=120.0, sleep=slept.append)
    made = MediaClient(AddressPolicy(allow_private=True), LIMITS, now=lambda: NOW, patience=patience)
    yield made
    made.close()


def test_transient_faults_between_are_waited_out(server: MediaServer, patient: MediaClient, slept: list[float]) -> None:
    """A provider or a media host that is busy for a moment does not end a transfer; its Retry-After is kept."""
    second = answer(status=503, headers={"Retry-After": "7"})
    fetch = scripted(
        server, patient, answer(BODY, headers={"ETag": ETAG}, cut=CUT), second, answer(status=500), rest(CUT, SIZE - 1)
    )
    with fetch() as got:
        assert join(got.chunks()) == BODY
    assert len(slept) == 2
    assert slept[0] == 7.0


def test_patience_that_is_over_does_not_begin_again_outside(server: MediaServer, patient: MediaClient) -> None:
    """Tries within tries do not multiply: what ends the inner patience ends the outer one."""
    fetch = scripted(server, patient, answer(BODY, headers={"ETag": ETAG}, cut=CUT), answer(status=503))
    outer = Patience(retries=4, budget=1000.0, sleep=lambda _: None)

    def attempt() -> bytes:
        with fetch() as got:
            return join(got.chunks())

    with pytest.raises(TransientError) as caught:
        outer.call(attempt)
    assert caught.value.http_status == 503
    assert caught.value.exhausted
    assert len(server.requests) == 1 + 3


def test_a_recording_that_changed_is_fetched_whole_by_the_next_try(server: MediaServer, patient: MediaClient) -> None:
    """The outer patience starts from zero after a continuation that cannot be trusted, and nothing of the old body is left."""
    after = media(SIZE + 5)[::-1]
    after = media(64) + after
    hosted = Hosted(server, BODY, cuts=[CUT])

    def refresh() -> Link:
        hosted.body, hosted.validators = after, {"ETag": '"new"'}
        return hosted.link()

    def attempt() -> bytes:
        with patient.fetch(SUBJECT, hosted.link(), refresh) as got:
            return join(got.chunks())

    assert Patience(retries=1, budget=10.0, sleep=lambda _: None).call(attempt) == after
    assert ["range" in request.headers for request in hosted.asked] == [False, True, False]


# -- what holds over all continuations together


def test_a_stall_is_cut_and_continued(server: MediaServer, client: MediaClient) -> None:
    """A host that goes silent within the body is left, and another link brings the rest."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nETag: {ETAG}\r\n\r\n".encode()
    with scripted(server, client, server.hang_after(head + BODY[:2000]), rest(2000, SIZE - 1))() as got:
        assert join(got.chunks()) == BODY
    assert got.facts.continuations == 1


def clocked(limits: MediaLimits, step: float) -> tuple[MediaClient, list[float]]:
    """Return a client whose clock moves on by ``step`` whenever it looks, and the clock, to be moved."""
    clock = [0.0]

    def look() -> float:
        clock[0] += step
        return clock[0]

    return MediaClient(AddressPolicy(allow_private=True), limits, now=lambda: NOW, monotonic=look), clock


def test_the_deadline_is_one_for_all_continuations(server: MediaServer) -> None:
    """When the time for everything is over, no link is asked for, and no try of this run begins again."""
    client, clock = clocked(LIMITS, 0.0)
    hosted = Hosted(server, BODY, cuts=[CUT, 1000, 1000, 1000])

    def refresh() -> Link:
        clock[0] += 9.0
        return hosted.link()

    with (
        pytest.raises(TransientError, match="MEDIA_DEADLINE_SECONDS") as caught,
        client.fetch(SUBJECT, hosted.link(), refresh) as got,
    ):
        join(got.chunks())
    assert caught.value.exhausted
    assert len(hosted.asked) == 1 + 2
    client.close()


def test_a_host_that_hands_out_crumbs_is_given_up(server: MediaServer) -> None:
    """Links that bring a byte each do not count as fruitless, and are slower than the minimum rate all the same."""
    client, _ = clocked(replace(LIMITS, deadline_seconds=1e6), 0.1)
    hosted = Hosted(server, BODY, cuts=[CUT, *[1] * 10_000])
    with (
        pytest.raises(TransientError, match="MEDIA_MIN_BYTES_PER_SECOND") as caught,
        client.fetch(SUBJECT, hosted.link(), hosted.link) as got,
    ):
        join(got.chunks())
    assert caught.value.exhausted
    assert FRESH_LINKS < len(hosted.asked) < 60
    client.close()


@pytest.mark.parametrize("in_chunks", [True, False])
def test_the_largest_size_is_that_of_the_joined_body(server: MediaServer, in_chunks: bool) -> None:
    """A body that is too large is refused even if each of its answers is not."""
    client = MediaClient(AddressPolicy(allow_private=True), replace(LIMITS, max_bytes=2 * MIB), now=lambda: NOW)
    hosted = Hosted(server, media(3 * MIB), cuts=[3 * MIB // 2, 3 * MIB // 2 - 10], chunked=in_chunks)
    taken: list[int] = []
    with pytest.raises(NotMediaError, match="MEDIA_MAX_BYTES"), client.fetch(SUBJECT, hosted.link(), hosted.link) as got:
        taken.extend(len(chunk) for chunk in got.chunks())
    assert sum(taken) <= 2 * MIB
    assert len(hosted.asked) == (2 if in_chunks else 1)
    client.close()


def test_no_error_of_a_continuation_holds_a_query_string(server: MediaServer, client: MediaClient) -> None:
    """Neither the error nor its causes show the signature of any link."""
    fetch = scripted(server, client, answer(BODY, headers={"ETag": ETAG}, cut=CUT), answer(status=403))
    with pytest.raises(NotContinuedError) as caught, fetch() as got:
        join(got.chunks())
    assert isinstance(caught.value.__cause__, LinkExpiredError)
    for error in (caught.value, caught.value.__cause__):
        assert "s3cr3t" not in f"{error} {error!r} {error.args}"
