"""How the tests talk to a sandbox: as a customer of the three providers, with a clock that they hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from sandbox.server import Sandbox

NOON = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
Param = str | int | list[str]
LINK_FIELDS = ("url", "presigned_url", "recording_url")


@dataclass
class HandClock:
    """A clock that stands still until it is moved."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def move(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.now += timedelta(seconds=seconds)


def client() -> httpx.Client:
    """Return an HTTP client that follows no redirects and no proxy settings."""
    return httpx.Client(trust_env=False, timeout=20)


@dataclass
class Customer:
    """Asks a sandbox what the archive would ask."""

    sandbox: Sandbox
    http: httpx.Client

    def headers(self, provider: str) -> dict[str, str]:
        """Return the key header of ``provider``."""
        env = self.sandbox.env
        return {
            "asteroid": {"X-Asteroid-Agents-Api-Key": env["ASTEROID_API_KEY"]},
            "feather": {"X-API-Key": env["FEATHER_API_KEY"]},
            "kataven": {"Authorization": f"Bearer {env['KATAVEN_API_KEY']}"},
        }[provider]

    def get(self, provider: str, path: str, headers: dict[str, str] | None = None, **params: Param) -> httpx.Response:
        """GET ``path`` under the provider's base URL."""
        base = self.sandbox.env[f"{provider.upper()}_BASE_URL"]
        return self.http.get(base + path, headers=self.headers(provider) if headers is None else headers, params=params)

    def executions(self, **params: Param) -> httpx.Response:
        """Ask for a page of Asteroid's list."""
        params.setdefault("organizationId", self.sandbox.env["ASTEROID_ORGANIZATION_ID"])
        return self.get("asteroid", "/executions", None, **params)

    def all_calls(self) -> list[dict[str, Any]]:
        """Walk Feather's list to its end."""
        calls: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = self.get("feather", "/api/v1/agent-calls", limit="7", cursor=cursor).json()
            calls += answer["agentCalls"]
            cursor = answer["pagination"]["nextCursor"]
        return calls

    def ask(self, recording: dict[str, Any]) -> httpx.Response:
        """Ask for the link of one recording of the truth."""
        provider, execution_id = recording["provider"], recording["execution_id"]
        if provider == "asteroid":
            return self.get(provider, f"/executions/{execution_id}/recording")
        if provider == "feather":
            return self.get(provider, f"/api/v1/agent-calls/{execution_id}/recording-url", type=recording["leg"])
        return self.get(provider, f"/sessions/{execution_id}/recording")

    def link(self, recording: dict[str, Any]) -> str:
        """Return a presigned URL of one recording of the truth."""
        answer = self.ask(recording)
        if answer.status_code == 307:
            return answer.headers["Location"]
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return next(body[name] for name in LINK_FIELDS if name in body)

    def recordings(self, provider: str | None = None, scenario: str | None = None) -> list[dict[str, Any]]:
        """Return the recordings of the truth, of one provider and scenario if asked."""
        everything: list[dict[str, Any]] = self.sandbox.truth()["recordings"]  # type: ignore[assignment]
        return [
            recording
            for recording in everything
            if provider in {None, recording["provider"]} and scenario in {None, recording["scenario"]}
        ]
