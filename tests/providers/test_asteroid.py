"""Asteroid: the walk through shifting pages, the redirect to a recording, and the four meanings of its 404."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from resources.errors import (
    AbsentError,
    BlockedError,
    NotReadyError,
    PurgedError,
    RecordingError,
    TransientError,
    UnexpectedAnswerError,
)
from resources.model import Leg, Window
from tests.providers.conftest import Make
from tests.providers.server import Canned, Request, StubServer, json_answer
from tests.providers.world import ASTEROID, DAY, LONG_AGO, NOW, PRESIGNED, collect, fault_of

LIST = "/agents/v2/executions"


def item(number: int, created_at: str = "2026-11-20T10:00:00Z") -> dict[str, object]:
    """Return an execution of the list."""
    return {"id": f"e{number}", "createdAt": created_at, "status": "completed"}


def paged(
    rows: list[dict[str, object]], size: int = 100, total: int | None = None, **more: object
) -> Callable[[Request], Canned]:
    """Serve rows by page as Asteroid does."""

    def respond(request: Request) -> Canned:
        start = (int(request.query["page"]) - 1) * size
        count = len(rows) if total is None else total
        return json_answer({"items": rows[start : start + size], "total": count, **more})

    return respond


def test_walk_asks_a_closed_window_in_order(make: Make, server: StubServer) -> None:
    """The window is a second wider on each side, ascending, with the organization, and never a token."""
    server.respond = paged([item(1)])

    assert collect(make(ASTEROID, asteroid_organization_id="org1").find(DAY)) == (["e1"], [])

    (request,) = server.requests
    assert request.path == LIST
    assert request.query == {
        "page": "1",
        "pageSize": "100",
        "sort": "created_at:asc",
        "createdAfter": "2026-11-19T23:59:59Z",
        "createdBefore": "2026-11-21T00:00:01Z",
        "organizationId": "org1",
    }


def test_organization_is_left_out_when_it_is_not_set(make: Make, server: StubServer) -> None:
    """A key without an organization asks without one."""
    server.respond = paged([])
    collect(make(ASTEROID).find(DAY))
    assert "organizationId" not in server.requests[0].query


def test_executions_outside_the_window_are_left_out(make: Make, server: StubServer) -> None:
    """The wider question changes nothing in the answer: start included, end excluded."""
    times = ["2026-11-19T23:59:59.999Z", "2026-11-20T00:00:00Z", "2026-11-20T23:59:59.999999Z", "2026-11-21T00:00:00Z"]
    server.respond = paged([item(number, at) for number, at in enumerate(times)])

    assert collect(make(ASTEROID).find(DAY)) == (["e1", "e2"], [])


def test_items_are_kept_byte_for_byte(make: Make, server: StubServer) -> None:
    """A record's raw JSON is what stood in the page."""
    raw = b'{"id": "e1",  "createdAt":"2026-11-20T10:00:00+00:00","x":1.50,"url":"https:\\/\\/x\\/y?z"}'
    server.script(Canned(200, b'{"items":[' + raw + b'],"total":1}'))

    (page,) = make(ASTEROID).find(DAY)

    assert page.records[0].raw == raw


def test_many_pages_are_walked_to_the_end(make: Make, server: StubServer) -> None:
    """250 executions take three pages and come once each."""
    server.respond = paged([item(number) for number in range(250)])

    ids, problems = collect(make(ASTEROID).find(DAY))

    assert (len(ids), len(set(ids)), problems, len(server.requests)) == (250, 250, [], 3)


@pytest.mark.parametrize("more", [{"pageSize": 40}, {"pageSize": "forty"}, {}])
def test_capped_page_size_loses_nothing(make: Make, server: StubServer, more: dict[str, object]) -> None:
    """An API that gives 40 rows where 100 were asked for is walked on, whether it says so or not."""
    server.respond = paged([item(number) for number in range(90)], size=40, **more)

    ids, problems = collect(make(ASTEROID).find(DAY))

    assert (len(ids), problems) == (90, [])


def test_missing_total_ends_at_an_empty_page(make: Make, server: StubServer) -> None:
    """Without a total, an empty page is the end."""
    rows = [item(number) for number in range(150)]
    server.respond = lambda request: json_answer(
        {"items": rows[(int(request.query["page"]) - 1) * 100 : int(request.query["page"]) * 100]}
    )

    assert len(collect(make(ASTEROID).find(DAY))[0]) == 150
    assert len(server.requests) == 3


def test_row_missed_by_a_shift_is_found_by_another_walk(make: Make, server: StubServer) -> None:
    """A row that goes away shifts another past the walk: the count tells, and the second walk finds it."""
    rows = [item(number) for number in range(150)]

    def respond(request: Request) -> Canned:
        answer = paged(rows)(request)
        if len(server.requests) == 1:
            del rows[0]
        return answer

    server.respond = respond

    ids, problems = collect(make(ASTEROID).find(DAY))

    assert sorted(ids) == sorted(f"e{number}" for number in range(150))
    assert problems == []
    assert len(server.requests) == 4


def test_rows_that_arrive_at_the_end_need_no_second_walk(make: Make, server: StubServer) -> None:
    """A total that grows on the way is an execution that began meanwhile, not a shift."""
    rows = [item(number) for number in range(120)]

    def respond(request: Request) -> Canned:
        answer = paged(rows)(request)
        rows.append(item(len(rows)))
        return answer

    server.respond = respond

    ids, problems = collect(make(ASTEROID).find(DAY))

    assert (len(ids), problems, len(server.requests)) == (121, [], 2)


def test_count_that_never_agrees_is_told(make: Make, server: StubServer) -> None:
    """After three walks with fewer rows than the total, what was found is kept and the gap is a problem."""
    server.respond = paged([item(number) for number in range(5)], total=7)

    ids, problems = collect(make(ASTEROID).find(DAY))

    assert len(ids) == 5
    (problem,) = problems
    assert "counts 7 executions, 5 were listed" in problem


def test_page_that_repeats_for_ever_ends(make: Make, server: StubServer) -> None:
    """An API that ignores the page number does not hold the walk."""
    server.respond = lambda _: json_answer({"items": [item(number) for number in range(100)], "total": 100_000})

    ids, problems = collect(make(ASTEROID).find(DAY))

    assert len(ids) == 100
    assert problems
    assert len(server.requests) < 30


def filtered(rows: list[dict[str, object]], edge: timedelta) -> Callable[[Request], Canned]:
    """Serve rows by page and time of creation; ``edge`` makes the bounds exclusive."""

    def respond(request: Request) -> Canned:
        after, before = (datetime.fromisoformat(request.query[name]) for name in ("createdAfter", "createdBefore"))
        chosen = [row for row in rows if after + edge <= datetime.fromisoformat(str(row["createdAt"])) <= before - edge]
        return paged(chosen)(request)

    return respond


@pytest.mark.parametrize("edge", [timedelta(0), timedelta(microseconds=1)])
def test_a_year_is_asked_for_in_windows_of_a_week(make: Make, server: StubServer, edge: timedelta) -> None:
    """No question covers more than a week, whatever the range; rows at the windows' edges come once, in their order."""
    start = datetime(2025, 11, 20, tzinfo=UTC)
    moments = [start + timedelta(days=7 * week, microseconds=shift) for week in range(53) for shift in (-1, 0, 1)]
    rows = [item(number, moment.isoformat()) for number, moment in enumerate(moments)]
    server.respond = filtered(rows, edge)
    window = Window(start, start + timedelta(days=365))
    pages = list(make(ASTEROID).find(window))
    expected = [f"e{number}" for number, moment in enumerate(moments) if moment in window]
    assert [record.execution_id for page in pages for record in page.records] == expected
    spans = [
        datetime.fromisoformat(request.query["createdBefore"]) - datetime.fromisoformat(request.query["createdAfter"])
        for request in server.requests
    ]
    assert max(spans) <= timedelta(days=7, seconds=2)
    done = [page.done for page in pages if page.done is not None]
    assert [span.start for span in done[1:]] == [span.end for span in done[:-1]]
    assert len(done) == 52


def test_a_full_window_is_halved(make: Make, server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ``total`` says that a window holds too much, no walk is longer than that, and nothing is lost or doubled."""
    monkeypatch.setattr("resources.providers.asteroid.WINDOW_ROWS_MAX", 200)
    moments = [DAY.start + timedelta(hours=9, seconds=number) for number in range(900)] + [DAY.start + timedelta(hours=20)]
    server.respond = filtered([item(number, moment.isoformat()) for number, moment in enumerate(moments)], timedelta(0))
    ids, problems = collect(make(ASTEROID).find(DAY))
    assert (ids, problems) == ([f"e{number}" for number in range(901)], [])
    assert max(int(request.query["page"]) for request in server.requests) <= 3
    assert len(server.requests) < 60


def test_only_the_window_that_shifted_is_walked_again(make: Make, server: StubServer) -> None:
    """A row that goes away in one week costs a walk through that week, and none through the others."""
    start = datetime(2026, 10, 2, tzinfo=UTC)
    rows = [item(number, (start + timedelta(hours=number / 10)).isoformat()) for number in range(5_000)]
    gone: list[str] = []

    def respond(request: Request) -> Canned:
        answer = filtered(rows, timedelta(0))(request)
        if request.query["page"] == "2" and not gone:
            gone.append(request.query["createdAfter"])
            del rows[5]
        return answer

    server.respond = respond
    ids, problems = collect(make(ASTEROID).find(Window(start, start + timedelta(days=21))))
    walks = Counter(request.query["createdAfter"] for request in server.requests if request.query["page"] == "1")
    assert (len(ids), problems) == (5_000, [])
    assert walks == {after: 1 + (after == gone[0]) for after in walks}
    assert len(walks) == 3


def test_unusable_items_are_told_once_and_stop_nothing(make: Make, server: StubServer) -> None:
    """Items without an id, without a time, or that are no objects are problems, and count towards the total."""
    rows = [item(1), {"createdAt": LONG_AGO}, {"id": "e3"}, {"id": "e4", "createdAt": "yesterday"}, None, 7, {"id": 9}]
    server.script(json_answer({"items": rows, "total": len(rows)}))

    ids, problems = collect(make(ASTEROID).find(DAY))

    assert ids == ["e1"]
    assert len(problems) == 6
    assert len(server.requests) == 1


def test_broken_utf8_loses_a_letter_and_not_the_row(make: Make, server: StubServer) -> None:
    """A byte that no JSON may hold is replaced, so that the row can be stored."""
    server.script(Canned(200, b'{"items":[{"id":"e1","createdAt":"2026-11-20T10:00:00Z","agentName":"a\xffb"}],"total":1}'))

    (page,) = make(ASTEROID).find(DAY)

    assert "a\ufffdb" in page.records[0].raw.decode()


def test_null_for_an_empty_list_is_an_empty_day(make: Make, server: StubServer) -> None:
    """Some servers write an empty list as null."""
    server.script(json_answer({"items": None, "total": 0}))
    assert collect(make(ASTEROID).find(DAY)) == ([], [])


def test_answer_of_another_shape_points_to_the_base_url(make: Make, server: StubServer) -> None:
    """JSON without ``items`` is an unexpected answer."""
    server.script(json_answer({"data": []}))
    error = fault_of(lambda: collect(make(ASTEROID).find(DAY)))
    assert isinstance(error, UnexpectedAnswerError)
    assert "ASTEROID_BASE_URL" in str(error)


@pytest.mark.parametrize("form", ["", "/", "/agents/v2", "/agents/v2/"])
def test_base_url_with_and_without_the_path(make: Make, server: StubServer, form: str) -> None:
    """The host alone, as the SDK takes it, and the documented URL are the same base."""
    server.route({ASTEROID.link_path: ASTEROID.good_link})

    provider = make(ASTEROID, asteroid_base_url=server.url + form)

    assert provider.base_url == server.url + "/agents/v2"
    assert provider.link("e1", Leg.MAIN).url == PRESIGNED


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_each_redirect_with_a_location_is_a_link(make: Make, server: StubServer, status: int) -> None:
    """307 is documented; its siblings are taken alike, and the query has no token."""
    server.script(Canned(status, b"", {"Location": PRESIGNED}))

    assert make(ASTEROID).link("e1", Leg.MAIN).url == PRESIGNED
    assert server.requests[0].query == {}


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/media/1.mp4?sig=x", "{host}/media/1.mp4?sig=x"),
        ("../../1.mp4", "{host}/agents/v2/1.mp4"),
        ("//cdn.example.com/1.mp4", "http://cdn.example.com/1.mp4"),
    ],
)
def test_relative_location_is_resolved(make: Make, server: StubServer, location: str, expected: str) -> None:
    """A Location without a host starts from what was asked."""
    server.script(Canned(307, b"", {"Location": location}))
    assert make(ASTEROID).link("e1", Leg.MAIN).url == expected.replace("{host}", server.url)


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "javascript:alert(1)", "ftp://x/1?sig=y"])
def test_location_that_is_no_web_address_is_refused(make: Make, server: StubServer, location: str) -> None:
    """A redirect to anything but http and https is an unexpected answer that does not show it."""
    server.script(Canned(307, b"", {"Location": location}))

    error = fault_of(make(ASTEROID).link, "e1", Leg.MAIN)

    assert isinstance(error, UnexpectedAnswerError)
    assert "sig" not in str(error)


def test_location_that_cannot_be_parsed_is_a_broken_answer(make: Make, server: StubServer) -> None:
    """The HTTP library itself gives up on such a redirect, which counts as no answer."""
    server.script(Canned(307, b"", {"Location": "http://[::1?sig=y"}))

    error = fault_of(make(ASTEROID).link, "e1", Leg.MAIN)

    assert isinstance(error, TransientError)
    assert "sig" not in str(error)


@pytest.mark.parametrize(
    ("query", "expiry"),
    [
        ("X-Amz-Date=20261121T120000Z&X-Amz-Expires=900", "2026-11-21T12:15:00+00:00"),
        ("x-goog-date=20261121T120000Z&x-goog-expires=60", "2026-11-21T12:01:00+00:00"),
        ("Expires=1795262400&Signature=x", "2026-11-21T12:00:00+00:00"),
        ("se=2026-11-21T12%3A30%3A00Z&sig=x", "2026-11-21T12:30:00+00:00"),
        ("X-Amz-Date=garbage&X-Amz-Expires=900", None),
        ("X-Amz-Date=20261121T120000Z&X-Amz-Expires=1e99", None),
        ("v=1", None),
    ],
)
def test_expiry_is_read_from_the_link(make: Make, server: StubServer, query: str, expiry: str | None) -> None:
    """When the link lapses is in its own query, or unknown."""
    server.script(Canned(307, b"", {"Location": f"https://media.example.com/1?{query}"}))
    expires_at = make(ASTEROID).link("e1", Leg.MAIN).expires_at
    assert (expires_at.isoformat() if expires_at else None) == expiry


RECENT = (NOW - timedelta(hours=2)).isoformat()
FOUR_MEANINGS = [
    ({"status": "completed", "terminalAt": LONG_AGO, "purgedAt": RECENT}, PurgedError),
    ({"status": "running"}, NotReadyError),
    ({"status": "queued", "terminalAt": LONG_AGO}, NotReadyError),
    ({"status": "a_new_word"}, NotReadyError),
    ({"status": "completed", "terminalAt": LONG_AGO, "recordingUrl": "https://x/y"}, NotReadyError),
    ({"status": "completed", "terminalAt": RECENT}, NotReadyError),
    ({"status": "a_new_word", "terminalAt": RECENT}, NotReadyError),
    ({"status": "failed", "createdAt": LONG_AGO, "duration": 10}, AbsentError),
    ({"status": "failed", "createdAt": RECENT}, NotReadyError),
    ({"status": "failed", "createdAt": LONG_AGO, "duration": 1e300}, AbsentError),
    ({"status": "Cancelled", "terminalAt": LONG_AGO}, AbsentError),
    ({"status": "a_new_word", "terminalAt": LONG_AGO}, AbsentError),
    ({"status": "completed"}, AbsentError),
    ({"status": 5, "terminalAt": 7, "duration": "x"}, AbsentError),
]


@pytest.mark.parametrize(("facts", "expected"), FOUR_MEANINGS)
def test_404_is_told_apart_by_the_execution(
    make: Make, server: StubServer, facts: dict[str, object], expected: type[RecordingError]
) -> None:
    """Purged, not ended, not served yet, just ended and absent all answer 404; the execution tells which."""
    server.route({ASTEROID.read_path or "": json_answer({"id": "e1", **facts})})

    error = fault_of(make(ASTEROID).link, "e1", Leg.MAIN)

    assert type(error) is expected
    assert error.http_status == 404


def test_grace_is_a_setting(make: Make, server: StubServer) -> None:
    """How long after its end an execution may still get a recording is the operator's choice."""
    server.route({ASTEROID.read_path or "": json_answer({"status": "completed", "terminalAt": RECENT})})
    assert isinstance(fault_of(make(ASTEROID, absent_grace_seconds=3600).link, "e1", Leg.MAIN), AbsentError)


def test_faults_of_the_second_look_win(make: Make, server: StubServer) -> None:
    """A 404 for the recording followed by a 401 for the execution is about the key, not about the recording."""
    server.script(Canned(404), Canned(401))
    assert isinstance(fault_of(make(ASTEROID).link, "e1", Leg.MAIN), BlockedError)


def test_supervisor_leg_does_not_exist(make: Make, server: StubServer) -> None:
    """Asteroid has one recording; asking for another leg sends nothing."""
    assert isinstance(fault_of(make(ASTEROID).link, "e1", Leg.SUPERVISOR), AbsentError)
    assert server.requests == []


def test_many_days_are_one_window(make: Make, server: StubServer) -> None:
    """A window of several days is one walk."""
    server.respond = paged([item(1, "2026-11-18T10:00:00Z"), item(2)])
    assert collect(make(ASTEROID).find(Window(DAY.start - timedelta(days=5), DAY.end)))[0] == ["e1", "e2"]
    assert len(server.requests) == 1
