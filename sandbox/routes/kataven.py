"""Kataven: voice sessions. One endpoint, which gives a presigned URL; nothing lists sessions, so an inventory is written."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from random import Random

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sandbox.executions import timestamp
from sandbox.faults import Fault
from sandbox.inventory import Inventory
from sandbox.media import Container
from sandbox.plan import ProviderPlan
from sandbox.scenarios import Drift, Leg, Scenario
from sandbox.seeds import generator, seeded_token, seeded_ulid
from sandbox.service import Handler, JsonObject, ProviderService, Readiness
from sandbox.stage import IssuedLink, Stage

ACCOUNT = "sandbox"
ACCOUNT_HEADER = "X-Account-ID"
JWT_PREFIX = "eyJ"
WRONG_BASE = "404 page not found"

_MESSAGES = {
    HTTPStatus.BAD_REQUEST: "Missing X-Account-ID header",
    HTTPStatus.NOT_FOUND: "No recording for this session",
    HTTPStatus.CONFLICT: "Recording not ready",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Internal error",
    HTTPStatus.SERVICE_UNAVAILABLE: "Recording playback not configured",
}
_STATUSES = {
    Readiness.RUNNING: HTTPStatus.CONFLICT,
    Readiness.NOT_READY: HTTPStatus.CONFLICT,
    Readiness.SERVER_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
    Readiness.NOT_CONFIGURED: HTTPStatus.SERVICE_UNAVAILABLE,
}


def _new_id(rng: Random, created_at: datetime) -> str:
    return f"agent_{seeded_ulid(rng, created_at)}"


class Kataven(ProviderService):
    """The voice sessions' API."""

    base_path = "/kataven/v1"
    plan = ProviderPlan(
        name="kataven",
        key_prefix=f"sk_live_{ACCOUNT}_",
        link_seconds=300,
        share=0.28,
        must=(
            Scenario.NOT_READY_ASKS,
            Scenario.ABSENT,
            Scenario.NOT_CONFIGURED,
            Scenario.LATE_ROW,
            Scenario.NOT_READY_SECONDS,
            Scenario.STILL_RUNNING,
            Scenario.NEVER_READY,
            Scenario.RATE_LIMITED,
            Scenario.SERVER_ERRORS,
            Scenario.MEDIA_ERROR,
            Scenario.MEDIA_CUT,
            Scenario.LINK_EXPIRED,
            Scenario.WRONG_LENGTH,
        ),
        usual={Scenario.READY: 20, Scenario.ABSENT: 1},
        drifts=(Drift.NONE, Drift.UNKNOWN_WORDS, Drift.HIDDEN_LINK, Drift.BADLY_TYPED, Drift.NONE, Drift.MIDNIGHT),
        containers={Container.OGG: 3, Container.WAV: 1, Container.MP3: 1},
        new_id=_new_id,
    )

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        rng = generator(stage.world.options.seed, "kataven", "jwt")
        self.jwt = ".".join((JWT_PREFIX + seeded_token(rng, 20), JWT_PREFIX + seeded_token(rng, 60), seeded_token(rng, 43)))
        stage.extra_secrets.append(self.jwt)
        self._inventory = Inventory(stage, self.name)

    def endpoints(self) -> dict[str, tuple[str, Handler]]:
        """Return the recording: there is nothing else."""
        return {"recording": ("/sessions/{session_id}/recording", self._recording)}

    def refusal(self, request: Request) -> Response | None:
        """Check the bearer token: a key that holds the account, or a JWT with the account in a header."""
        if self.stage.faults.has(Fault.KATAVEN_WRONG_BASE):
            return PlainTextResponse(f"{WRONG_BASE}\n", status_code=HTTPStatus.NOT_FOUND)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        account = request.headers.get(ACCOUNT_HEADER)
        if token.startswith(JWT_PREFIX) and not account:
            return self.error(HTTPStatus.BAD_REQUEST)
        if scheme.lower() != "bearer" or token not in {self.key, self.jwt}:
            return self.error(HTTPStatus.UNAUTHORIZED)
        if account not in {None, ACCOUNT}:
            return self.error(HTTPStatus.FORBIDDEN)
        return None

    def error(self, status: HTTPStatus, message: str | None = None) -> Response:
        """Return a plain string."""
        return PlainTextResponse(message or _MESSAGES.get(status, status.phrase), status_code=status)

    def environment(self, base_url: str, files: Path) -> dict[str, str]:
        """Return key, base URL and the folder of the session inventory."""
        return {"KATAVEN_API_KEY": self.key, "KATAVEN_BASE_URL": base_url, "KATAVEN_SESSIONS": str(files)}

    def write_files(self, folder: Path) -> None:
        """Write the session inventory, as far as its sessions are known by now."""
        self._inventory.write(folder)

    async def unknown_path(self, _request: Request) -> Response:
        """Answer as a Go server does: a wrong base URL looks like this."""
        return PlainTextResponse(f"{WRONG_BASE}\n", status_code=HTTPStatus.NOT_FOUND)

    async def _recording(self, request: Request) -> Response:
        execution = self.stage.world.find(self.name, str(request.path_params["session_id"]))
        readiness, recording = self.ask(execution, Leg.MAIN) if execution else (Readiness.ABSENT, None)
        if readiness is Readiness.RATE_LIMITED:
            return self.too_many()
        if readiness is not Readiness.READY or execution is None or recording is None:
            return self.error(_STATUSES.get(readiness, HTTPStatus.NOT_FOUND))
        return JSONResponse(_link_object(self.stage.link(recording), execution.number))


def _link_object(link: IssuedLink, number: int) -> JsonObject:
    """Return the object with one of the spellings that clients have met; the document names none."""
    lapses = timestamp(link.expires_at)
    spellings: tuple[JsonObject, ...] = (
        {"url": link.url, "expires_at": lapses},
        {"presigned_url": link.url, "expires_in": link.lifetime},
        {"recording_url": link.url, "expiresAt": lapses, "content_type": "audio"},
        {"url": link.url},
        {"presigned_url": link.url, "expires_at": lapses},
    )
    return spellings[number % len(spellings)]
