"""What every provider promises, asked of each of them on a real HTTP server."""

from __future__ import annotations

import logging
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from resources.errors import (
    AbsentError,
    BlockedError,
    RateLimitedError,
    SettingsError,
    TransientError,
    UnexpectedAnswerError,
)
from resources.model import Leg
from resources.providers.protocol import Answer
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings
from tests.providers.conftest import Make
from tests.providers.server import Canned, StubServer, json_answer
from tests.providers.world import CASES, DAY, PRESIGNED, READING_CASES, SECRET_QUERY, Case, FakeClock, collect, fault_of

FAULT_BODY = {"status": 500, "code": 404, "message": "Missing X-Account-ID header", "success": False}
LINK_FAULTS = [
    pytest.param(case, status, answer, id=f"{case.name}-{status}")
    for case in CASES
    for status, answer in case.spec.link_answers.items()
    if answer.error is not None
]
READ_FAULTS = [
    pytest.param(case, status, answer, id=f"{case.name}-{status}")
    for case in READING_CASES
    for status, answer in case.spec.read_answers.items()
    if answer.error is not None
]
HOSTILE_IDS = ["", ".", "..", "a\x00b", "a\nb", "x" * 513, "\x7f", "\udcff"]


def test_every_provider_is_under_the_contract() -> None:
    """A provider that is registered is tested here."""
    assert {case.name for case in CASES} == set(PROVIDERS)


def test_every_documented_status_has_a_meaning(case: Case) -> None:
    """No status on the vendor's pages is missing from the tables."""
    assert case.documented_link <= set(case.spec.link_answers)
    assert case.documented_read <= set(case.spec.read_answers)


@pytest.mark.parametrize(("case", "status", "answer"), LINK_FAULTS)
def test_each_link_status_becomes_its_error(make: Make, server: StubServer, case: Case, status: int, answer: Answer) -> None:
    """Each row of the recording endpoint's table is raised as it says, for an execution that ended long ago."""
    routes = {case.link_path: json_answer(FAULT_BODY, status)}
    server.route(routes | ({case.read_path: json_answer(case.ended)} if case.read_path else {}))

    error = fault_of(make(case).link, "e1", Leg.MAIN)

    assert type(error) is answer.error
    assert error.http_status == status
    assert (error.subject.provider, error.subject.execution_id, error.subject.leg) == (case.name, "e1", "main")


@pytest.mark.parametrize(("case", "status", "answer"), READ_FAULTS)
def test_each_read_status_becomes_its_error(make: Make, server: StubServer, case: Case, status: int, answer: Answer) -> None:
    """Each row of the reading endpoints' table is raised as it says."""
    server.script(json_answer(FAULT_BODY, status))

    error = fault_of(make(case).get, "e1")

    assert type(error) is answer.error
    assert error.http_status == status


def test_good_link_is_returned(make: Make, server: StubServer, case: Case) -> None:
    """The presigned URL comes back whole, in one question, and its repr hides it."""
    server.route({case.link_path: case.good_link})

    link = make(case).link("e1", Leg.MAIN)

    assert link.url == PRESIGNED
    assert link.expires_at is not None
    assert SECRET_QUERY not in repr(link)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 500, 502, 504, 520, 599])
def test_server_faults_are_transient(make: Make, server: StubServer, case: Case, status: int) -> None:
    """408 and any 5xx may heal, documented or not."""
    server.script(Canned(status))

    assert type(fault_of(make(case).link, "e1", Leg.MAIN)) is TransientError


@pytest.mark.parametrize("status", [401, 403])
def test_refused_keys_name_the_setting(make: Make, server: StubServer, case: Case, status: int) -> None:
    """401 and 403 are the operator's fault, and the text says where to look and never what the key is."""
    server.script(Canned(status))

    error = fault_of(make(case).link, "e1", Leg.MAIN)

    assert isinstance(error, BlockedError)
    assert case.spec.key_setting in str(error)
    assert str(status) in error.detail
    assert case.key not in str(error)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("99999999", 86_400.0),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        (None, None),
    ],
)
def test_retry_after_in_both_forms(make: Make, server: StubServer, case: Case, header: str | None, seconds: float | None) -> None:
    """A 429 carries the wait that was asked for, capped at a day, and None when it is unreadable."""
    server.script(Canned(429, b"slow down", {"Retry-After": header} if header else {}))

    error = fault_of(make(case).link, "e1", Leg.MAIN)

    assert isinstance(error, RateLimitedError)
    assert error.retry_after == seconds


@pytest.mark.parametrize("status", [201, 204, 301, 410, 418])
def test_statuses_outside_the_contract(make: Make, server: StubServer, case: Case, status: int) -> None:
    """A status that nobody documented is terminal, and points to the base URL."""
    server.script(Canned(status, b"", {"Location": PRESIGNED}))

    error = fault_of(make(case).link, "e1", Leg.MAIN)

    assert type(error) is UnexpectedAnswerError
    assert f"{case.name.upper()}_BASE_URL" in str(error)
    assert SECRET_QUERY not in str(error)


def test_redirects_are_not_followed(make: Make, server: StubServer, other_server: StubServer, case: Case) -> None:
    """Whatever redirects, the other host is never asked, so the key never reaches it."""
    server.script(Canned(307, b"", {"Location": other_server.url + "/x"}), Canned(302, b"", {"Location": other_server.url}))
    provider = make(case)

    for question in (lambda: provider.link("e1", Leg.MAIN), lambda: collect(provider.find(DAY))):
        try:
            question()
        except UnexpectedAnswerError:
            continue

    assert server.requests
    assert other_server.requests == []


def test_key_travels_in_its_header_only(make: Make, server: StubServer, case: Case) -> None:
    """Every question carries the key in one header and nowhere else."""
    server.route({case.link_path: case.good_link})

    make(case).link("e1", Leg.MAIN)

    (request,) = server.requests
    holders = [name for name, value in request.headers.items() if case.key in value]
    assert holders == [{"asteroid": "x-asteroid-agents-api-key", "feather": "x-api-key", "kataven": "authorization"}[case.name]]
    assert case.key not in str(request.query) + request.path


@pytest.mark.parametrize("status", [200, 307, 400, 401, 404, 409, 418, 429, 500, 503])
def test_no_secret_in_any_text(make: Make, server: StubServer, case: Case, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the log at DEBUG, nor an error with its whole chain, holds a key, a query string or a presigned URL."""
    caplog.set_level(logging.DEBUG)
    body = f'{{"message": "{PRESIGNED}", "Location": "ftp://x?{SECRET_QUERY}"}}'.encode()
    server.script(Canned(status, body, {"Location": f"ftp://files.example.com/1?{SECRET_QUERY}"}))
    provider = make(case, asteroid_organization_id="org-in-the-query")

    texts: list[str] = []
    for question in (lambda: provider.link("e1", Leg.MAIN), lambda: provider.get("e1"), lambda: collect(provider.find(DAY))):
        try:
            question()
        except Exception as error:  # noqa: BLE001 - whatever comes, its text is looked at
            texts += ["".join(traceback.format_exception(error)), repr(error), str(error)]

    for text in (*texts, caplog.text):
        # A traceback quotes source lines, not values; what is looked for are values.
        for secret in (SECRET_QUERY, case.key, "org-in-the-query", "createdAfter="):
            assert secret not in text


def test_unreachable_host_is_transient_and_names_the_setting(clock: FakeClock, tmp_path: object, case: Case) -> None:
    """A refused connection names the host and the setting to check, with no chained text."""
    stub = StubServer()
    url = stub.url
    stub.stop()
    provider = case.build(url, tmp_path, clock)  # type: ignore[arg-type]

    error = fault_of(provider.link, "e1", Leg.MAIN)

    assert type(error) is TransientError
    assert error.http_status is None
    assert f"{case.name.upper()}_BASE_URL" in str(error)
    assert "127.0.0.1" in str(error)
    assert error.__suppress_context__


def test_page_instead_of_json_names_the_base_url(make: Make, server: StubServer, case: Case) -> None:
    """A web page with status 200, as a wrong base URL gives, is an unexpected answer that says where to look."""
    server.script(Canned(200, b"<html>Sign in</html>"))
    provider = make(case)

    questions = [(provider.get, "e1")] if case.read_path else [(provider.link, "e1", Leg.MAIN)]
    if case.list_path:
        questions.append((lambda: collect(provider.find(DAY)),))
    for question, *args in questions:
        error = fault_of(question, *args)
        assert isinstance(error, UnexpectedAnswerError)
        assert f"{case.name.upper()}_BASE_URL" in str(error)


@pytest.mark.parametrize("page", [Canned(200, b"<html>Try later</html>"), Canned(200, b'{"ite'), Canned(403, b"{}")])
@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
def test_bad_page_does_not_end_a_walk_that_has_begun(make: Make, server: StubServer, case: Case, page: Canned) -> None:
    """After a good first page, an error page, half a body and a 403 are asked for again, so that nothing is read twice."""
    first, second = _pages_of(case)
    server.script(first, page, page, second)

    assert collect(make(case).find(DAY)) == (["a", "b"], [])
    assert len(server.requests) == 4


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
def test_bad_page_that_stays_ends_a_walk_with_what_it_says(make: Make, server: StubServer, case: Case) -> None:
    """The tries are those of the patience, and the error is the last answer's, not one of being tired."""
    server.script(_pages_of(case)[0], Canned(403, b"{}"))

    error = fault_of(lambda: collect(make(case).find(DAY)))

    assert isinstance(error, BlockedError)
    assert len(server.requests) == 1 + 5


def _pages_of(case: Case) -> tuple[Canned, Canned]:
    """Return a list of two pages with one execution each."""
    rows: list[dict[str, object]] = [{"id": name, "createdAt": "2026-11-20T12:00:00Z", "status": "completed"} for name in "ab"]
    if case.name == "asteroid":
        pages = [{"items": [row], "page": n, "pageSize": n, "total": 2} for n, row in enumerate(rows, 1)]
    else:
        pages = [{"agentCalls": [row], "pagination": {"nextCursor": c}} for row, c in zip(rows, ("c1", None), strict=True)]
    return json_answer(pages[0]), json_answer(pages[1])


@pytest.mark.parametrize("execution_id", HOSTILE_IDS)
def test_hostile_ids_are_not_asked(make: Make, server: StubServer, case: Case, execution_id: str) -> None:
    """An id that cannot stand in a path is refused before anything is sent, and its text can be printed."""
    error = fault_of(make(case).link, execution_id, Leg.MAIN)

    assert isinstance(error, UnexpectedAnswerError)
    assert "not asked" in error.detail
    assert str(error).isprintable()
    assert server.requests == []


@pytest.mark.parametrize(
    ("execution_id", "wire"), [("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"), ("%2e%2e", "%252e%252e"), ("é ", "%C3%A9%20")]
)
def test_ids_stay_one_path_segment(make: Make, server: StubServer, case: Case, execution_id: str, wire: str) -> None:
    """Slashes, marks and escapes in an id are encoded, so that it stays one segment."""
    server.script(case.good_link)

    make(case).link(execution_id, Leg.MAIN)

    assert server.requests[0].path == case.link_path.replace("e1", wire)


def test_threads_share_a_client(make: Make, server: StubServer, case: Case) -> None:
    """Many threads may ask through one client at once."""
    server.route({case.link_path: case.good_link})
    provider = make(case)

    with ThreadPoolExecutor(8) as pool:
        links = list(pool.map(lambda _: provider.link("e1", Leg.MAIN).url, range(40)))

    assert links == [PRESIGNED] * 40


def test_no_key_means_off(case: Case, clock: FakeClock) -> None:
    """A provider without a key builds nothing."""
    assert case.spec.build(load_settings(None), clock.runtime) is None


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "   "])
def test_unusable_keys_name_the_setting(make: Make, case: Case, key: str) -> None:
    """A key that no header can carry is a setting's fault, told without the key."""
    with pytest.raises(SettingsError, match=case.spec.key_setting) as caught:
        make(case, **{f"{case.name}_api_key": key})
    assert key.strip() == "" or key not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["api.example.com", "ftp://x/y", "http://", "https://u:p@x/", "https://x/?a=b", "http://x:99999", "http://a b/"]
)
def test_unusable_base_urls_name_the_setting(make: Make, case: Case, url: str) -> None:
    """A base URL that is not a plain http or https address is a setting's fault."""
    with pytest.raises(SettingsError, match=f"{case.name.upper()}_BASE_URL"):
        make(case, **{f"{case.name}_base_url": url})


def test_base_url_is_normalised(make: Make, server: StubServer, case: Case) -> None:
    """A trailing slash makes no difference to what is asked."""
    server.route({case.link_path: case.good_link})

    provider = make(case, **{f"{case.name}_base_url": server.url + case.base + "/"})
    provider.link("e1", Leg.MAIN)

    assert provider.base_url == server.url + case.base
    assert provider.name == case.name


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
def test_list_at_a_wrong_address_blocks(make: Make, server: StubServer, case: Case) -> None:
    """A 404 for the list is a wrong base URL, never an empty day."""
    server.script(Canned(404))

    error = fault_of(lambda: collect(make(case).find(DAY)))

    assert isinstance(error, BlockedError)
    assert "_BASE_URL" in str(error)


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("body", "certain"), [(b'{"code": 404, "message": "x"}', True), (b"<h1>Not Found</h1>", False)])
def test_unknown_id_is_certain_only_in_the_providers_own_words(
    make: Make, server: StubServer, case: Case, body: bytes, certain: bool
) -> None:
    """A 404 that is not the provider's own JSON may come from a wrong base URL, and says so."""
    server.script(Canned(404, body))
    provider = make(case)

    for error in (fault_of(provider.get, "e1"), fault_of(provider.link, "e1", Leg.MAIN)):
        assert isinstance(error, AbsentError)
        assert error.certain is certain


@pytest.mark.parametrize("case", READING_CASES, ids=lambda case: case.name)
def test_get_returns_the_exact_bytes(make: Make, server: StubServer, case: Case) -> None:
    """One execution comes back byte for byte, spacing and numbers included."""
    raw = b'{"id":"e1", "createdAt" : "2026-11-20T10:00:00Z","n":1.50}'
    server.route({case.read_path or "": Canned(200, b'{"agentCall":' + raw + b"}" if case.name == "feather" else raw)})

    record = make(case).get("e1")

    assert record.raw == raw
    assert record.created_at.isoformat() == "2026-11-20T10:00:00+00:00"
