"""Keys are checked as the providers check them."""

from __future__ import annotations

import uuid

import pytest

from tests.sandbox.client import Customer

PATHS = {
    "asteroid": "/executions",
    "feather": "/api/v1/agent-calls",
    "kataven": "/sessions/agent_01HZ/recording",
}


@pytest.mark.parametrize("provider", PATHS)
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong", "Authorization": "Bearer wrong"}])
def test_a_missing_or_wrong_key_is_401(customer: Customer, provider: str, headers: dict[str, str]) -> None:
    """Every provider answers 401 in its own shape when the key is missing or wrong."""
    answer = customer.get(provider, PATHS[provider], headers=headers)
    assert answer.status_code == 401
    if provider == "asteroid":
        assert answer.json() == {"code": 401, "message": "Unauthorized"}
    elif provider == "feather":
        assert answer.json()["status"] == 401
        assert answer.json()["success"] is False
    else:
        assert answer.headers["Content-Type"].startswith("text/plain")


def test_the_key_of_one_provider_is_not_good_for_another(customer: Customer) -> None:
    """Keys are per provider."""
    headers = {"X-API-Key": customer.sandbox.env["ASTEROID_API_KEY"]}
    assert customer.get("feather", PATHS["feather"], headers=headers).status_code == 401


def test_asteroid_refuses_another_organization(customer: Customer) -> None:
    """Asteroid wants an organization id with a list (400 without), and only the customer's own (403)."""
    assert customer.get("asteroid", "/executions").status_code == 400
    answer = customer.executions(organizationId=str(uuid.uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (403, 403)


def test_asteroid_takes_the_documented_token_on_recordings_only(customer: Customer) -> None:
    """The query token opens a recording and nothing else, and the sandbox counts that a key was in a URL."""
    recording = customer.recordings("asteroid", "ready")[0]
    token = customer.sandbox.env["ASTEROID_API_KEY"]
    path = f"/executions/{recording['execution_id']}"
    assert customer.get("asteroid", f"{path}/recording", headers={}, token=token).status_code == 307
    assert customer.get("asteroid", path, headers={}, token=token).status_code == 401
    assert customer.sandbox.requests()["keys_in_urls"] == 2


def test_kataven_wants_an_account_beside_a_jwt(customer: Customer) -> None:
    """A JWT without X-Account-ID is 400 in plain text, with it 200, with another account 403."""
    recording = customer.recordings("kataven", "ready")[0]
    path = f"/sessions/{recording['execution_id']}/recording"
    jwt = next(key for key in customer.sandbox.secrets()["keys"] if key.startswith("eyJ"))
    bearer = {"Authorization": f"Bearer {jwt}"}
    missing = customer.get("kataven", path, headers=bearer)
    assert (missing.status_code, missing.text) == (400, "Missing X-Account-ID header")
    assert customer.get("kataven", path, headers=bearer | {"X-Account-ID": "sandbox"}).status_code == 200
    assert customer.get("kataven", path, headers=bearer | {"X-Account-ID": "other"}).status_code == 403
