"""Kataven: keys and accounts, an answer without documented keys, and the limits that it sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resources.errors import (
    AbsentError,
    BlockedError,
    InventoryError,
    NotReadyError,
    RateLimitedError,
    SettingsError,
    UnexpectedAnswerError,
)
from resources.model import Leg
from tests.providers.conftest import Make
from tests.providers.server import Canned, StubServer, json_answer
from tests.providers.world import DAY, KATAVEN, PRESIGNED, FakeClock, collect, fault_of

URL = "https://media.example.com/1.mp3"
JWT = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"


def test_account_key_is_a_bearer_alone(make: Make, server: StubServer) -> None:
    """An ``sk_live_`` key holds its account, so no account header goes with it."""
    server.script(KATAVEN.good_link)

    make(KATAVEN, kataven_account_id="acme").link("e1", Leg.MAIN)

    assert server.requests[0].headers["authorization"] == f"Bearer {KATAVEN.key}"
    assert "x-account-id" not in server.requests[0].headers


def test_jwt_goes_with_its_account(make: Make, server: StubServer) -> None:
    """A JWT needs the account in a header of its own."""
    server.script(KATAVEN.good_link)

    make(KATAVEN, kataven_api_key=JWT, kataven_account_id="acme").link("e1", Leg.MAIN)

    assert server.requests[0].headers["authorization"] == f"Bearer {JWT}"
    assert server.requests[0].headers["x-account-id"] == "acme"


def test_jwt_without_an_account_names_the_setting(make: Make) -> None:
    """A JWT alone would be answered by 400: it is refused before anything is asked."""
    with pytest.raises(SettingsError, match="KATAVEN_ACCOUNT_ID"):
        make(KATAVEN, kataven_api_key=JWT)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("kataven_sessions", ""),
        ("kataven_sessions", " , "),
        ("kataven_sessions", "simplecache::s3://bucket/x.csv"),
        ("kataven_rate_limits", "60/fortnight"),
        ("kataven_rate_limits", "0/minute"),
    ],
)
def test_unusable_settings_are_named(make: Make, setting: str, value: str) -> None:
    """A missing inventory, a chained URL and a wrong rate each name their variable."""
    with pytest.raises(SettingsError, match=setting.upper()):
        make(KATAVEN, **{setting: value})


@pytest.mark.parametrize(
    "body",
    [
        {"url": PRESIGNED},
        {"presigned_url": PRESIGNED},
        {"recording_url": PRESIGNED},
        {"recordingUrl": PRESIGNED},
        {"presignedURL": PRESIGNED, "format": "mp3"},
        {"recording": {"url": PRESIGNED}},
        {"id": 1, "data": {"presigned_url": PRESIGNED}},
        {"url": None, "recording_url": PRESIGNED},
    ],
)
def test_url_is_found_under_each_name(make: Make, server: StubServer, body: object) -> None:
    """The object's keys are not documented: the likely names are taken, at the top or one level down."""
    server.script(json_answer(body))
    assert make(KATAVEN).link("e1", Leg.MAIN).url == PRESIGNED


@pytest.mark.parametrize(
    "body", [{}, {"link": PRESIGNED}, {"url": "s3://bucket/key"}, {"a": {"b": {"url": PRESIGNED}}}, [], PRESIGNED]
)
def test_answer_without_a_usable_url_is_unexpected(make: Make, server: StubServer, body: object) -> None:
    """No URL, or not a web address, is outside the contract, and the text does not show it."""
    server.script(json_answer(body))

    error = fault_of(make(KATAVEN).link, "e1", Leg.MAIN)

    assert isinstance(error, UnexpectedAnswerError)
    assert "Signature" not in str(error)


@pytest.mark.parametrize(
    ("more", "expiry"),
    [
        ({}, "2026-11-21T12:05:00+00:00"),
        ({"expires_at": "2026-11-21T12:02:00Z"}, "2026-11-21T12:02:00+00:00"),
        ({"expiresAt": "2026-11-21T13:02:00+01:00"}, "2026-11-21T12:02:00+00:00"),
        ({"expires_at": 1795262460}, "2026-11-21T12:01:00+00:00"),
        ({"expires_at": 1795262460000}, "2026-11-21T12:01:00+00:00"),
        ({"expires_in": 120}, "2026-11-21T12:02:00+00:00"),
        ({"expiresIn": "120"}, "2026-11-21T12:02:00+00:00"),
        ({"expires_in": -1}, "2026-11-21T12:05:00+00:00"),
        ({"expires_in": "a while"}, "2026-11-21T12:05:00+00:00"),
        ({"expires_at": True, "expires_in": None}, "2026-11-21T12:05:00+00:00"),
    ],
)
def test_expiry_is_found_or_five_minutes(make: Make, server: StubServer, more: dict[str, object], expiry: str) -> None:
    """A time, an epoch or a number of seconds is taken; without one the documented five minutes hold."""
    server.script(json_answer({"url": URL, **more}))
    expires_at = make(KATAVEN).link("e1", Leg.MAIN).expires_at
    assert expires_at is not None
    assert expires_at.isoformat() == expiry


def test_404_is_never_certain(make: Make, server: StubServer) -> None:
    """A wrong base URL answers 404 too, so the error says that it is not certain."""
    server.script(Canned(404, b"No recording for this session"))
    error = fault_of(make(KATAVEN).link, "e1", Leg.MAIN)
    assert isinstance(error, AbsentError)
    assert not error.certain


def test_503_is_asked_again_slowly(make: Make, server: StubServer) -> None:
    """The 503 "playback not configured" is retried, but with the long backoff; 409 with the short one."""
    server.script(Canned(503, b"Recording playback not configured"), Canned(409, b"Recording not ready"))
    provider = make(KATAVEN)

    errors = [fault_of(provider.link, "e1", Leg.MAIN) for _ in range(2)]

    assert [(type(error), getattr(error, "slow", None)) for error in errors] == [(NotReadyError, True), (NotReadyError, False)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"Missing X-Account-ID header", BlockedError), (b"", BlockedError), (b"malformed session id", UnexpectedAnswerError)],
)
def test_400_blocks_only_when_it_is_about_the_account(
    make: Make, server: StubServer, body: bytes, expected: type[Exception]
) -> None:
    """The documented 400 stops the provider; one about a single session must not."""
    server.script(Canned(400, body))
    assert type(fault_of(make(KATAVEN).link, "e1", Leg.MAIN)) is expected


def test_limits_are_kept_by_waiting(make: Make, server: StubServer, clock: FakeClock) -> None:
    """The fourth question of a minute waits for the minute to pass."""
    server.script(KATAVEN.good_link)
    provider = make(KATAVEN, kataven_rate_limits="3/minute")

    for _ in range(4):
        provider.link("e1", Leg.MAIN)

    assert clock.naps == [60.0]


def test_longer_wait_ends_the_run_instead(make: Make, server: StubServer, clock: FakeClock) -> None:
    """A turn that is an hour away is an error with the time to come back, and nothing is sent."""
    server.script(KATAVEN.good_link)
    provider = make(KATAVEN, kataven_rate_limits="1/hour")
    provider.link("e1", Leg.MAIN)

    error = fault_of(provider.link, "e1", Leg.MAIN)

    assert isinstance(error, RateLimitedError)
    assert (error.retry_after, error.http_status, clock.naps, len(server.requests)) == (3600.0, None, [], 1)


def test_429_holds_the_other_questions_back(make: Make, server: StubServer, clock: FakeClock) -> None:
    """After a 429 the next question waits as long as the provider asked."""
    server.script(Canned(429, b"slow down", {"Retry-After": "30"}), KATAVEN.good_link)
    provider = make(KATAVEN)

    assert isinstance(fault_of(provider.link, "e1", Leg.MAIN), RateLimitedError)
    provider.link("e1", Leg.MAIN)

    assert clock.naps == [30.0]


def test_supervisor_leg_does_not_exist(make: Make, server: StubServer) -> None:
    """Kataven has one recording; asking for another leg sends nothing."""
    assert isinstance(fault_of(make(KATAVEN).link, "e1", Leg.SUPERVISOR), AbsentError)
    assert server.requests == []


def test_get_reads_the_inventory(make: Make, server: StubServer) -> None:
    """A session is looked up in the files; one that is not there is the inventory's fault, not an absent recording."""
    provider = make(KATAVEN)

    assert provider.get("e1").execution_id == "e1"
    with pytest.raises(InventoryError, match="KATAVEN_SESSIONS"):
        provider.get("e2")
    assert server.requests == []


def test_find_gives_bounded_pages_of_the_window(make: Make, tmp_path: Path) -> None:
    """Sessions of the window come in pages of at most 500, once each, from all places that the setting lists."""
    first = tmp_path / "a.csv"
    first.write_text("session_id,started_at\n" + "".join(f"s{n},2026-11-20T10:00:00Z\n" for n in range(1100)))
    second = tmp_path / "b.csv"
    second.write_text("session_id,started_at\ns1,2026-11-20T11:00:00Z\nt1,2026-11-20T11:00:00Z\nu1,2026-11-22\nbad\n")

    pages = list(make(KATAVEN, kataven_sessions=f"{first}, {second}").find(DAY))
    ids, problems = collect(pages)

    assert max(len(page.records) for page in pages) == 500
    assert len(ids) == len(set(ids)) == 1101
    assert problems == [f"{second}:5: no start time that is a time"]


def test_later_lines_add_to_a_session(make: Make, tmp_path: Path) -> None:
    """A session that was placed in one file and ended in another is one session with both facts, in the day of its start."""
    (tmp_path / "a.csv").write_text("session_id,started_at,status,campaign_id\ns1,2026-11-20T23:59:00Z,initiated,c9\n")
    (tmp_path / "b.csv").write_text(
        "session_id,started_at,status,ended_at\ns1,2026-11-21T00:01:00Z,completed,2026-11-21T00:05:00Z\n"
    )

    pages = list(make(KATAVEN, kataven_sessions=str(tmp_path)).find(DAY))
    (record,) = [record for page in pages for record in page.records]
    fields = json.loads(record.raw)

    assert (fields["status"], fields["campaign_id"], fields["started_at"]) == ("completed", "c9", "2026-11-20T23:59:00Z")
    assert fields["ended_at"] == "2026-11-21T00:05:00Z"
