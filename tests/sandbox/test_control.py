"""The sandbox's own endpoints, and the faults of the APIs."""

from __future__ import annotations

import pytest

from sandbox.faults import FAULTS, FaultBoard
from sandbox.options import OptionError
from tests.sandbox.client import Customer

PROVIDERS = ("asteroid", "feather", "kataven")


def _first_answers(customer: Customer) -> dict[str, int]:
    return {provider: customer.ask(customer.recordings(provider, "ready")[0]).status_code for provider in PROVIDERS}


def test_the_truth_can_be_fetched(customer: Customer) -> None:
    """The endpoint says what the object says."""
    fetched = customer.http.get(f"{customer.sandbox.api_origin}/_sandbox/truth").json()
    assert fetched == customer.sandbox.truth()


def test_a_page_says_what_it_is(customer: Customer) -> None:
    """A person who opens the API origin reads what it is, and every fault's name."""
    page = customer.http.get(customer.sandbox.api_origin + "/").text
    assert "invented" in page
    assert all(f"<code>{fault}</code>" in page for fault in FAULTS)


def test_requests_are_counted(customer: Customer) -> None:
    """Asks, links, GETs and bytes are counted by recording, and statuses by endpoint; a reset forgets them."""
    recording = customer.recordings("asteroid", "ready")[0]
    link = customer.link(recording)
    customer.http.get(link)
    customer.http.get(link, headers={"Range": "bytes=0-99"})
    seen = customer.http.get(f"{customer.sandbox.api_origin}/_sandbox/requests").json()
    assert seen["recordings"] == [
        {
            "provider": "asteroid",
            "execution_id": recording["execution_id"],
            "leg": "main",
            "link_asks": 1,
            "links_issued": 1,
            "media_gets": 2,
            "media_bytes": recording["length"] + 100,
        }
    ]
    assert seen["endpoints"] == {"asteroid": {"recording": {"307": 1}}, "media": {"GET": {"200": 1, "206": 1}}}
    customer.http.post(f"{customer.sandbox.api_origin}/_sandbox/reset")
    assert customer.sandbox.requests()["recordings"] == []


def test_a_reset_makes_a_recording_not_ready_again(customer: Customer) -> None:
    """Scenarios that count asks begin again."""
    (recording,) = customer.recordings("kataven", "not-ready-asks")
    assert [customer.ask(recording).status_code for _ in range(3)] == [409, 409, 200]
    customer.sandbox.reset()
    assert customer.ask(recording).status_code == 409


def test_secrets_can_be_searched_for(customer: Customer) -> None:
    """All keys and every signature so far are listed, those in metadata included."""
    rows = customer.executions(pageSize=100).json()["items"]
    row_link = next(row["recordingUrl"] for row in rows if "recordingUrl" in row)
    link = customer.link(customer.recordings("feather", "ready")[0])
    secrets = customer.http.get(f"{customer.sandbox.api_origin}/_sandbox/secrets").json()
    for url in (row_link, link):
        assert url.rpartition("X-Amz-Signature=")[2] in secrets["signatures"]
    assert {value for name, value in customer.sandbox.env.items() if name.endswith("_API_KEY")} <= set(secrets["keys"])


@pytest.mark.parametrize(("fault", "status"), [("wrong-keys", 401), ("forbidden", 403), ("everything-500", 500)])
def test_faults_can_be_limited_to_a_provider(customer: Customer, fault: str, status: int) -> None:
    """Without a value a fault is everybody's, with a provider's name it is that provider's; it can be switched off."""
    good = _first_answers(customer)
    customer.sandbox.set_fault(fault)
    assert set(_first_answers(customer).values()) == {status}
    customer.sandbox.set_fault(fault, "feather")
    assert _first_answers(customer) == good | {"feather": status}
    customer.sandbox.set_fault(fault, value=False)
    assert _first_answers(customer) == good


def test_a_wrong_base_is_404_for_everything(customer: Customer) -> None:
    """Kataven's wrong base answers as a Go server does, for good sessions too."""
    customer.sandbox.set_fault("kataven-wrong-base")
    answer = customer.ask(customer.recordings("kataven", "ready")[0])
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")


def test_a_rate_limit_can_be_forced(customer: Customer) -> None:
    """More calls in a second than the limit are 429; each provider is limited by itself."""
    recording = customer.recordings("kataven", "ready")[0]
    customer.sandbox.set_fault("rate-limit", "2/second")
    assert [customer.ask(recording).status_code for _ in range(3)] == [200, 200, 429]
    assert customer.executions().status_code == 200


def test_faults_are_switched_over_http(customer: Customer) -> None:
    """POST switches on and off, GET shows, DELETE clears, and a wrong name is answered with the right ones."""
    url = f"{customer.sandbox.api_origin}/_sandbox/faults"
    on = customer.http.post(url, json={"name": "media-slow", "value": 5000}).json()
    assert on == {"on": {"media-slow": "5000"}} == customer.http.get(url).json()
    assert customer.http.post(url, json={"name": "media-slow", "value": False}).json() == {"on": {}}
    wrong = customer.http.post(url, json={"name": "media-fast"})
    assert wrong.status_code == 400
    assert "media-slow" in wrong.json()["error"]
    assert customer.http.post(url, content=b"nonsense").status_code == 400
    customer.sandbox.set_fault("forbidden")
    assert customer.http.delete(url).json() == {"on": {}}


@pytest.mark.parametrize(
    "text", ["nope", "media-slow", "media-slow=fast", "rate-limit=3/day", "media-redirect=ftp://x", "forbidden=x", "chaos=1.5/7"]
)
def test_a_wrong_fault_is_refused(text: str) -> None:
    """An unknown name or an impossible value is an error that says what is possible."""
    with pytest.raises(OptionError, match=r"there is no fault|takes"):
        FaultBoard(PROVIDERS).switch_text(text)
