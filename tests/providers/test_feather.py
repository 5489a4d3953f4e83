"""Feather: the walk from the newest call, both legs, and statuses that are judged without the body."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from resources.errors import AbsentError, NotReadyError, RecordingError, TransientError, UnexpectedAnswerError
from resources.model import Leg, Window
from tests.providers.conftest import Make
from tests.providers.server import Canned, Request, StubServer, json_answer
from tests.providers.world import DAY, FEATHER, LONG_AGO, NOW, PRESIGNED, collect, fault_of

RECENT = (NOW - timedelta(hours=2)).isoformat()


def call(name: str, created_at: datetime) -> dict[str, object]:
    """Return a call of the list."""
    return {"id": name, "createdAt": created_at.isoformat(), "status": "COMPLETED"}


def serve(server: StubServer, pages: list[list[dict[str, object]]], end: object = None) -> None:
    """Serve pages behind cursors ``c1``, ``c2``, ...; ``end`` is the last page's cursor."""

    def respond(request: Request) -> Canned:
        number = int(request.query.get("cursor", "c0")[1:])
        cursor = f"c{number + 1}" if number + 1 < len(pages) else end
        return json_answer({"agentCalls": pages[number], "pagination": {"limit": "100", "nextCursor": cursor}})

    server.respond = respond


def days_back(days: float) -> datetime:
    """Return a moment so many days before noon of the window's day."""
    return datetime(2026, 11, 20, 12, tzinfo=UTC) - timedelta(days=days)


def test_one_walk_serves_many_days(make: Make, server: StubServer) -> None:
    """Ten days come out of one walk from the newest call, with a limit written as text."""
    serve(server, [[call(f"a{day}", days_back(day)), call(f"b{day}", days_back(day))] for day in range(10)])

    ids, problems = collect(make(FEATHER).find(Window(days_back(20), days_back(-1))))

    assert (len(ids), len(set(ids)), problems) == (20, 20, [])
    assert len(server.requests) == 10
    assert [request.query.get("cursor") for request in server.requests[:3]] == [None, "c1", "c2"]
    assert {request.query["limit"] for request in server.requests} == {"100"}


def test_the_days_that_a_walk_has_passed_are_done(make: Make, server: StubServer) -> None:
    """A day is done by the rule that ends a walk: two pages in a row that are older than it. What follows is older still."""
    serve(server, [[call(f"a{day}", days_back(day)), call(f"b{day}", days_back(day + 0.1))] for day in range(40)])
    window = Window(days_back(30.5), days_back(-1.5))
    left: list[datetime] = []
    done = window.end
    for page in make(FEATHER).find(window):
        assert all(record.created_at < done for record in page.records)
        left += [record.created_at for record in page.records]
        if page.done is not None:
            assert page.done.end == window.end
            done = page.done.start
    assert len(left) == 62
    assert done <= window.start + timedelta(days=1)


def test_a_list_from_old_to_new_is_done_at_its_end_only(make: Make, server: StubServer) -> None:
    """Where the order is another one, no day counts as done on the way."""
    serve(server, [[call(f"c{day}", days_back(20 - day))] for day in range(20)])
    assert all(page.done is None for page in make(FEATHER).find(Window(days_back(20), days_back(-1))))


def test_walk_ends_after_two_old_pages(make: Make, server: StubServer) -> None:
    """The walk goes one page beyond the first that is too old as a whole, and no further."""
    serve(server, [[call(f"c{day}", days_back(day))] for day in range(-2, 30)])

    assert collect(make(FEATHER).find(DAY))[0] == ["c0"]
    assert len(server.requests) == 5


def test_call_that_is_a_little_out_of_order_is_found(make: Make, server: StubServer) -> None:
    """A call of the window behind a page of older ones is still found."""
    serve(server, [[call("new", days_back(-1))], [call("old", days_back(3))], [call("late", days_back(0))], [], []])
    assert collect(make(FEATHER).find(DAY))[0] == ["late"]


def test_list_from_old_to_new_is_walked_to_its_end(make: Make, server: StubServer) -> None:
    """The order is not documented: in an ascending list, old pages do not end the walk."""
    serve(server, [[call(f"c{day}", days_back(day))] for day in range(9, -2, -1)])
    assert collect(make(FEATHER).find(DAY))[0] == ["c0"]


@pytest.mark.parametrize("end", [None, ""])
def test_absent_cursor_is_the_end(make: Make, server: StubServer, end: object) -> None:
    """Null and empty cursors end the list."""
    serve(server, [[call("a", days_back(0))]], end)
    assert collect(make(FEATHER).find(DAY)) == (["a"], [])


@pytest.mark.parametrize("pagination", [{}, {"pagination": None}, {"pagination": {}}])
def test_missing_pagination_is_the_end(make: Make, server: StubServer, pagination: dict[str, object]) -> None:
    """A page without pagination is the last one."""
    server.script(json_answer({"agentCalls": [call("a", days_back(0))], **pagination}))
    assert collect(make(FEATHER).find(DAY)) == (["a"], [])


def test_repeated_cursor_is_a_fault_and_keeps_what_came(make: Make, server: StubServer) -> None:
    """A cursor that comes back would loop for ever: the walk fails, after yielding what it found."""
    serve(server, [[call("a", days_back(0))], [call("b", days_back(0))]], end="c1")
    found: list[str] = []

    def walk() -> None:
        for page in make(FEATHER).find(DAY):
            found.extend(record.execution_id for record in page.records)

    assert isinstance(fault_of(walk), UnexpectedAnswerError)
    assert found == ["a", "b"]
    assert len(server.requests) == 2


def test_fresh_cursors_without_new_calls_end_in_a_fault(make: Make, server: StubServer) -> None:
    """An API that invents cursors over the same page does not hold the walk."""
    server.respond = lambda _: json_answer(
        {"agentCalls": [call("a", days_back(0))], "pagination": {"nextCursor": str(len(server.requests))}}
    )

    assert isinstance(fault_of(lambda: collect(make(FEATHER).find(DAY))), UnexpectedAnswerError)
    assert len(server.requests) < 30


def test_duplicates_are_dropped(make: Make, server: StubServer) -> None:
    """A call that shows up on two pages, or twice on one, comes once."""
    twice = call("a", days_back(0))
    serve(server, [[twice, twice], [twice, call("b", days_back(0))]])
    assert collect(make(FEATHER).find(DAY))[0] == ["a", "b"]


def test_bad_calls_are_told_and_stop_nothing(make: Make, server: StubServer) -> None:
    """Calls without an id or a time are problems."""
    serve(server, [[{"id": "x"}, {"createdAt": LONG_AGO}, call("a", days_back(0))]])
    ids, problems = collect(make(FEATHER).find(DAY))
    assert (ids, len(problems)) == (["a"], 2)


@pytest.mark.parametrize("leg", list(Leg))
def test_each_leg_has_its_own_question(make: Make, server: StubServer, leg: Leg) -> None:
    """The leg goes into ``type``, and the answer's expiry into the link."""
    server.route({FEATHER.link_path: FEATHER.good_link})

    link = make(FEATHER).link("e1", leg)

    assert server.requests[0].query == {"type": leg.value}
    assert (link.url, link.expires_at) == (PRESIGNED, datetime(2026, 11, 21, 12, 5, tzinfo=UTC))


def test_unreadable_expiry_is_no_fault(make: Make, server: StubServer) -> None:
    """An expiry that is not a time leaves what the URL itself says."""
    server.script(json_answer({"url": "https://m.example.com/1", "expiresAt": "soon"}))
    assert make(FEATHER).link("e1", Leg.MAIN).expires_at is None


@pytest.mark.parametrize("body", [{"expiresAt": "x"}, {"url": None}, {"url": "ftp://x/y"}, {"url": "/relative"}, ["x"]])
def test_good_status_without_a_url_is_unexpected(make: Make, server: StubServer, body: object) -> None:
    """A 200 without a web address is outside the contract."""
    server.script(json_answer(body))
    assert isinstance(fault_of(make(FEATHER).link, "e1", Leg.MAIN), UnexpectedAnswerError)


def test_503_is_not_ready_whatever_its_body_says(make: Make, server: StubServer) -> None:
    """The documented 503 body says status 500: only the HTTP status counts, and a Retry-After is kept."""
    server.script(json_answer({"status": 500, "code": "INTERNAL_SERVER_ERROR"}, 503, Retry_After="4"))

    error = fault_of(make(FEATHER).link, "e1", Leg.MAIN)

    assert type(error) is NotReadyError
    assert error.retry_after == 4.0


def test_500_is_transient_whatever_its_body_says(make: Make, server: StubServer) -> None:
    """A 500 whose body says 503 is a 500."""
    server.script(json_answer({"status": 503}, 500))
    assert type(fault_of(make(FEATHER).link, "e1", Leg.MAIN)) is TransientError


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"status": "IN_PROGRESS"}, NotReadyError),
        ({"status": "IN_PROGRESS", "callEndedAt": LONG_AGO}, NotReadyError),
        ({"status": "SOMETHING_NEW"}, NotReadyError),
        ({"status": "NO_ANSWER", "callEndedAt": LONG_AGO}, AbsentError),
        ({}, NotReadyError),
        ({"status": "COMPLETED", "callEndedAt": RECENT}, NotReadyError),
        ({"status": "completed", "createdAt": RECENT}, NotReadyError),
        ({"status": "COMPLETED", "callEndedAt": LONG_AGO}, AbsentError),
        ({"status": "failed", "callEndedAt": LONG_AGO}, AbsentError),
        ({"status": "COMPLETED"}, AbsentError),
    ],
)
@pytest.mark.parametrize("status", [400, 404])
def test_main_legs_400_is_told_apart_by_the_call(
    make: Make, server: StubServer, status: int, facts: dict[str, object], expected: type[RecordingError]
) -> None:
    """400 is one code for unknown, not saved yet and none: the call tells which."""
    server.route(
        {
            FEATHER.link_path: json_answer({"status": 400, "message": "Bad request"}, status),
            FEATHER.read_path or "": json_answer({"agentCall": {"id": "e1", **facts}}),
        }
    )

    error = fault_of(make(FEATHER).link, "e1", Leg.MAIN)

    assert type(error) is expected
    assert error.http_status == status


@pytest.mark.parametrize("status", [400, 404])
def test_call_that_is_unknown_itself_is_absent(make: Make, server: StubServer, status: int) -> None:
    """A 400 for the recording and for the call is an unknown id."""
    server.script(json_answer({"message": "Bad request"}, 400), json_answer({"message": "no such call"}, status))

    error = fault_of(make(FEATHER).link, "e1", Leg.MAIN)

    assert isinstance(error, AbsentError)
    assert error.certain


def test_supervisors_400_means_absent(make: Make, server: StubServer) -> None:
    """The supervisor's leg is asked once: its 400 needs no second look."""
    server.script(json_answer({"message": "Bad request"}, 400))

    assert isinstance(fault_of(make(FEATHER).link, "e1", Leg.SUPERVISOR), AbsentError)
    assert len(server.requests) == 1
