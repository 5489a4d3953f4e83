"""Asking for a recording: every documented status can be met."""

from __future__ import annotations

from datetime import datetime

import pytest

from sandbox.scenarios import Scenario
from tests.sandbox.client import Customer, HandClock

NOT_READY = {"asteroid": 404, "feather": 503, "kataven": 409}
ABSENT = {"asteroid": 404, "feather": 400, "kataven": 404}
GOOD = {"asteroid": 307, "feather": 200, "kataven": 200}
PROVIDERS = tuple(GOOD)


def test_a_ready_recording_has_a_link(customer: Customer) -> None:
    """Asteroid redirects with Location and Cache-Control, Feather says url and expiresAt, Kataven varies its words."""
    redirect = customer.ask(customer.recordings("asteroid", "ready")[0])
    assert redirect.status_code == 307
    assert "X-Amz-Expires=60&" in redirect.headers["Location"]
    assert "Cache-Control" in redirect.headers
    body = customer.ask(customer.recordings("feather", "ready")[0]).json()
    assert body.keys() == {"url", "expiresAt"}
    lives = datetime.fromisoformat(body["expiresAt"]) - customer.sandbox.world.clock()
    assert lives.total_seconds() == 300
    spellings = {tuple(customer.ask(found).json()) for found in customer.recordings("kataven", "ready")}
    assert {name for spelling in spellings for name in spelling} >= {"url", "presigned_url", "recording_url"}
    assert {name for spelling in spellings for name in spelling} >= {"expires_at", "expiresAt", "expires_in"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_not_ready_heals_after_some_asks(customer: Customer, provider: str) -> None:
    """A recording that ended just now is not ready for two asks, then it is."""
    (recording,) = customer.recordings(provider, "not-ready-asks")
    statuses = [customer.ask(recording).status_code for _ in range(3)]
    assert statuses == [NOT_READY[provider]] * 2 + [GOOD[provider]]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_not_ready_heals_after_some_seconds(customer: Customer, clock: HandClock, provider: str) -> None:
    """Another is not ready until some seconds have passed, however often it is asked for."""
    (recording,) = customer.recordings(provider, "not-ready-seconds")
    assert {customer.ask(recording).status_code for _ in range(4)} == {NOT_READY[provider]}
    clock.move(5)
    assert customer.ask(recording).status_code == GOOD[provider]


def test_a_fresh_asteroid_404_shows_in_the_row(customer: Customer) -> None:
    """Until the upload the row has a recent terminalAt and no recordingUrl; afterwards it has one."""
    (recording,) = customer.recordings("asteroid", "not-ready-asks")
    path = f"/executions/{recording['execution_id']}"
    row = customer.get("asteroid", path).json()
    assert row["terminalAt"] > "2026-03-05T11:59"
    assert "recordingUrl" not in row
    customer.ask(recording)
    customer.ask(recording)
    assert "recordingUrl" in customer.get("asteroid", path).json()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_absent_recording_stays_absent(customer: Customer, clock: HandClock, provider: str) -> None:
    """What has no recording is 404 or 400 for ever, and is a day old in the default world."""
    recording = customer.recordings(provider, "absent")[0]
    clock.move(3600)
    assert {customer.ask(recording).status_code for _ in range(4)} == {ABSENT[provider]}
    assert recording["date"] == "2026-03-03"


def test_warm_transfers_have_a_second_leg(customer: Customer) -> None:
    """A supervisor leg is a recording of its own; one warm transfer has none, which is 400."""
    present = customer.recordings("feather", "supervisor")[0]
    absent = next(found for found in customer.recordings("feather", "absent") if found["leg"] == "supervisor")
    assert present["leg"] == "supervisor"
    assert customer.ask(present).status_code == 200
    assert customer.ask(absent).status_code == 400
    for found in (present, absent):
        call = customer.get("feather", f"/api/v1/agent-calls/{found['execution_id']}").json()["agentCall"]
        assert call["callEndedReason"] == "WARM_TRANSFER"
    wrong = customer.get("feather", f"/api/v1/agent-calls/{present['execution_id']}/recording-url", type="other")
    assert wrong.status_code == 400


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_rate_limit_says_how_long(customer: Customer, provider: str) -> None:
    """The first ask of one recording is 429 with Retry-After; the second is good."""
    (recording,) = customer.recordings(provider, "rate-limited-once")
    limited = customer.ask(recording)
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "1")
    if provider == "kataven":
        assert limited.headers["Content-Type"].startswith("text/plain")
    assert customer.ask(recording).status_code == GOOD[provider]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_server_errors_come_in_bursts(customer: Customer, provider: str) -> None:
    """Two asks are 500, then the recording is there."""
    (recording,) = customer.recordings(provider, "server-errors")
    assert [customer.ask(recording).status_code for _ in range(3)] == [500, 500, GOOD[provider]]


def test_feather_503_says_500_in_its_body(customer: Customer) -> None:
    """The documented body of Feather's 503 contradicts its status."""
    answer = customer.ask(customer.recordings("feather", "not-ready-asks")[0])
    assert answer.status_code == 503
    assert answer.json() == {
        "status": 500,
        "message": "Internal server error",
        "code": "INTERNAL_SERVER_ERROR",
        "success": False,
    }


def test_kataven_speaks_plain_text(customer: Customer) -> None:
    """Kataven's errors are the documented words, without JSON."""
    said = {}
    for scenario in ("absent", "not-ready-asks", "server-errors", "not-configured"):
        answer = customer.ask(customer.recordings("kataven", scenario)[0])
        said[answer.status_code] = answer.text
    assert said == {
        404: "No recording for this session",
        409: "Recording not ready",
        500: "Internal error",
        503: "Recording playback not configured",
    }
    unknown = customer.get("kataven", "/sessions/agent_01UNKNOWN/recording")
    assert (unknown.status_code, unknown.text) == (404, "No recording for this session")
    wrong_base = customer.http.get(f"{customer.sandbox.api_origin}/kataven/api/v1/x", headers=customer.headers("kataven"))
    assert (wrong_base.status_code, wrong_base.text) == (404, "404 page not found\n")


def test_not_configured_heals(customer: Customer) -> None:
    """Kataven's 503 goes away after two asks."""
    (recording,) = customer.recordings("kataven", "not-configured")
    assert [customer.ask(recording).status_code for _ in range(3)] == [503, 503, 200]


def test_never_ready_stays_pending(customer: Customer, clock: HandClock) -> None:
    """One session is 409 for ever, and the truth calls it pending."""
    (recording,) = customer.recordings("kataven", "never-ready")
    clock.move(7200)
    assert {customer.ask(recording).status_code for _ in range(4)} == {409}
    assert recording["final_state"] == "pending"


def test_every_scenario_is_in_the_default_world(customer: Customer) -> None:
    """Each scenario is met at least once; only the two transfer scenarios share a leg's name."""
    met = {recording["scenario"] for recording in customer.recordings()}
    assert met == set(Scenario) - {Scenario.SUPERVISOR_ABSENT}
