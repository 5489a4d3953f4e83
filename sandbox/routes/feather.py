"""Feather: phone calls. A list with an opaque cursor, one call, and fresh presigned URLs of two legs."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from random import Random

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox import fiction
from sandbox.durations import told_seconds
from sandbox.executions import Execution, timestamp
from sandbox.faults import Fault
from sandbox.media import Container
from sandbox.plan import ProviderPlan
from sandbox.scenarios import Drift, Leg, Scenario
from sandbox.seeds import generator, seeded_uuid
from sandbox.service import Handler, JsonObject, ProviderService, Readiness
from sandbox.stage import Stage

KEY_HEADER = "X-API-Key"
DEFAULT_LIMIT = 10
MOST_LIMIT = 100

_CODES = {HTTPStatus.SERVICE_UNAVAILABLE: "INTERNAL_SERVER_ERROR"}
"""The documented body of a 503 says 500."""
_ENDED_REASONS = ("ENDED", "NOT_INTERESTED", "CALENDLY", "CALL_AGAIN", "TEXT_CONSENT", "DNC", "FRAUD")
_UNANSWERED_REASONS = ("NO_ANSWER", "LINE_BUSY", "BAD_NUMBER")
_TEXT_FILTERS = ("status", "mode", "agentId", "workflowId", "callEndedReason")

Place = tuple[datetime, str]
"""Where a call stands in the list: time of creation, id."""


def _new_id(rng: Random, _created_at: datetime) -> str:
    return seeded_uuid(rng)


class Feather(ProviderService):
    """The phone calls' API."""

    base_path = "/feather"
    plan = ProviderPlan(
        name="feather",
        key_prefix="fth_live_",
        link_seconds=300,
        share=0.36,
        must=(
            Scenario.NOT_READY_ASKS,
            Scenario.ABSENT,
            Scenario.SUPERVISOR,
            Scenario.SUPERVISOR_ABSENT,
            Scenario.STILL_RUNNING,
            Scenario.LATE_ROW,
            Scenario.NOT_READY_SECONDS,
            Scenario.LONG_RUNNING,
            Scenario.NEVER_ENDS,
            Scenario.RATE_LIMITED,
            Scenario.SERVER_ERRORS,
            Scenario.MEDIA_ERROR,
            Scenario.MEDIA_CUT,
            Scenario.LINK_EXPIRED,
            Scenario.WRONG_LENGTH,
        ),
        usual={Scenario.READY: 20, Scenario.ABSENT: 2, Scenario.SUPERVISOR: 2},
        drifts=(
            Drift.NONE,
            Drift.OTHER_TRANSCRIPT,
            Drift.UNKNOWN_WORDS,
            Drift.HIDDEN_LINK,
            Drift.BADLY_TYPED,
            Drift.UNKNOWN_FIELDS,
            Drift.OTHER_TRANSCRIPT,
            Drift.MIDNIGHT,
        ),
        containers={Container.MP3: 3, Container.WAV: 2},
        new_id=_new_id,
    )

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        rng = generator(stage.world.options.seed, "feather", "organization")
        self._organization_id = seeded_uuid(rng)
        self._agents = [(f"{name} line", seeded_uuid(rng), seeded_uuid(rng)) for name in fiction.CAMPAIGNS]
        self._workflow_id = seeded_uuid(rng)

    def endpoints(self) -> dict[str, tuple[str, Handler]]:
        """Return the list, the call and its recording's URL."""
        return {
            "list": ("/api/v1/agent-calls", self._list),
            "get": ("/api/v1/agent-calls/{call_id}", self._get),
            "recording": ("/api/v1/agent-calls/{call_id}/recording-url", self._recording),
        }

    def refusal(self, request: Request) -> Response | None:
        """Check the key header."""
        if request.headers.get(KEY_HEADER) != self.key:
            return self.error(HTTPStatus.UNAUTHORIZED)
        return None

    def error(self, status: HTTPStatus, message: str | None = None) -> Response:
        """Return ``{"status", "message", "code", "success"}``; the body of a 503 says 500, as documented."""
        told = HTTPStatus.INTERNAL_SERVER_ERROR if status is HTTPStatus.SERVICE_UNAVAILABLE else status
        body = {
            "status": int(told),
            "message": message or told.phrase.capitalize(),
            "code": _CODES.get(status, told.name),
            "success": False,
        }
        return JSONResponse(body, status_code=status)

    def environment(self, base_url: str, files: Path) -> dict[str, str]:
        """Return key and base URL."""
        del files
        return {"FEATHER_API_KEY": self.key, "FEATHER_BASE_URL": base_url}

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        try:
            limit = min(MOST_LIMIT, int(query.get("limit", str(DEFAULT_LIMIT))))
            position = _position(query.get("cursor"))
        except ValueError as error:
            return self.error(HTTPStatus.BAD_REQUEST, f"Invalid query: {error}")
        if limit < 1:
            return self.error(HTTPStatus.BAD_REQUEST, "Invalid query: limit must be at least 1")
        stuck = self.stage.faults.has(Fault.FEATHER_REPEATED_CURSOR)
        older = [
            execution
            for execution in reversed(self.stage.world.visible(self.name))
            if position is None or stuck or _place(execution) < position
        ]
        found = [execution for execution in older if self._matches(execution, request)]
        rows = found[:limit]
        more = len(found) > limit or (stuck and bool(rows))
        return JSONResponse(
            {
                "agentCalls": [self._row(execution) for execution in rows],
                "pagination": {"limit": limit, "nextCursor": _cursor(rows[-1]) if more else None},
            }
        )

    async def _get(self, request: Request) -> Response:
        execution = self.stage.world.find(self.name, str(request.path_params["call_id"]))
        if execution is None:
            return self.error(HTTPStatus.NOT_FOUND, "Agent call not found")
        return JSONResponse({"agentCall": self._row(execution)})

    async def _recording(self, request: Request) -> Response:
        execution = self.stage.world.find(self.name, str(request.path_params["call_id"]))
        kind = request.query_params.get("type", Leg.MAIN)
        if kind not in set(Leg):
            return self.error(HTTPStatus.BAD_REQUEST, "type must be main or supervisor")
        readiness, recording = self.ask(execution, Leg(kind)) if execution else (Readiness.ABSENT, None)
        match readiness:
            case Readiness.RATE_LIMITED:
                return self.too_many()
            case Readiness.SERVER_ERROR:
                return self.error(HTTPStatus.INTERNAL_SERVER_ERROR)
            case Readiness.NOT_READY:
                return self.error(HTTPStatus.SERVICE_UNAVAILABLE)
            case Readiness.READY if recording is not None:
                link = self.stage.link(recording)
                return JSONResponse({"url": link.url, "expiresAt": timestamp(link.expires_at)})
            case _:
                return self.error(HTTPStatus.BAD_REQUEST, "Agent call not found or has no recording")

    def _matches(self, execution: Execution, request: Request) -> bool:
        query = request.query_params
        if not any(name in query for name in (*_TEXT_FILTERS, "outbound", "startDuration", "endDuration")):
            return True
        row = self._row(execution)
        if any(name in query and str(row.get(name)) != query[name] for name in _TEXT_FILTERS):
            return False
        if "outbound" in query and str(row["outbound"]).lower() != query["outbound"].lower():
            return False
        seconds = _seconds(execution)
        return float(query.get("startDuration", "-inf")) <= seconds <= float(query.get("endDuration", "inf"))

    def _status(self, execution: Execution) -> str:
        if execution.has_ended(self.stage.world.now()):
            return "COMPLETED" if execution.number % 9 else "FAILED"
        return {Scenario.NEVER_ENDS: "HIBERNATING", Scenario.LONG_RUNNING: "PENDING"}.get(execution.scenario, "IN_PROGRESS")

    def _row(self, execution: Execution) -> JsonObject:
        """Return the call as the API shows it now."""
        rng = generator(execution.execution_id, "row")
        first, last = fiction.full_name(rng)
        agent_name, agent_id, version_id = self._agents[execution.number % len(self._agents)]
        ended = execution.has_ended(self.stage.world.now())
        customer_number = fiction.phone_number(rng)
        row: JsonObject = {
            "id": execution.execution_id,
            "organizationId": self._organization_id,
            "createdAt": timestamp(execution.created_at),
            "updatedAt": timestamp((execution.ended_at if ended else None) or execution.created_at),
            "agentVersionId": version_id,
            "agentVersionDetails": {"version": 4, "publishedAt": "2026-01-05T09:00:00Z", "model": "voice-2"},
            "agentId": agent_id,
            "agentDetails": {"name": agent_name, "language": "en-US", "voice": {"id": "riley", "speed": 1.05}},
            "mode": "WEB" if execution.number % 6 == 0 else "AUDIO",
            "fromPhoneNumber": fiction.phone_number(rng),
            "toPhoneNumber": customer_number,
            "customer": {"phoneNumber": customer_number, "firstName": first, "lastName": last},
            "leadId": seeded_uuid(rng),
            "callEndedReason": None,
            "callEndedBy": None,
            "callStartedAt": timestamp(execution.created_at + timedelta(milliseconds=350)),
            "callEndedAt": None,
            "callDuration": None,
            "recordingUrl": None,
            "transcript": None,
            "summary": None,
            "variables": {"firstName": first, "plan": rng.choice(("basic", "plus")), "attempt": rng.randrange(1, 4)},
            "status": self._status(execution),
            "outbound": execution.number % 5 != 0,
            "postCallAnalysis": None,
            "structuredPostCallAnalysis": None,
            "leadState": {"state": "OPEN", "tries": rng.randrange(4)},
            "workflowId": self._workflow_id if execution.number % 2 else None,
        }
        return row | self._ending(execution, rng) | self._drifted(execution) if ended else row

    def _ending(self, execution: Execution, rng: Random) -> JsonObject:
        absent = execution.scenario is Scenario.ABSENT
        talk = [] if absent else fiction.talk(rng)
        uploaded = self.is_uploaded(execution)
        reasons = _UNANSWERED_REASONS if absent else _ENDED_REASONS
        transferred = execution.scenario is Scenario.SUPERVISOR
        return {
            "callEndedReason": "WARM_TRANSFER" if transferred else rng.choice(reasons),
            "callEndedBy": rng.choice(("AGENT", "CUSTOMER")),
            "callEndedAt": timestamp(execution.ended_at or execution.created_at),
            "callDuration": _seconds(execution),
            "recordingUrl": self.stage.embedded_link(execution.recordings[0]) if uploaded else None,
            "transcript": "\n".join(f"{speaker}: {words}" for speaker, words in talk),
            "summary": None if absent else rng.choice(fiction.OUTCOMES),
            "postCallAnalysis": None if absent else "Polite, short, clear next step.",
            "structuredPostCallAnalysis": {
                "sentiment": rng.choice(("positive", "neutral", "negative")),
                "score": round(rng.random(), 3),
                "topics": ["scheduling", "price"],
                "followUp": {"needed": rng.random() < 0.5, "at": None},  # noqa: PLR2004
            },
            "leadState": {"state": "CONTACTED", "tries": rng.randrange(1, 5)},
        }

    def _drifted(self, execution: Execution) -> JsonObject:
        rng = generator(execution.execution_id, "drift")
        turns = [
            {"id": seeded_uuid(rng), "created_at": timestamp(execution.created_at), "text": words, "user": speaker}
            for speaker, words in fiction.talk(rng)
        ]
        match execution.drift:
            case Drift.OTHER_TRANSCRIPT:
                return {"transcript": turns, "postCallAnalysis": {"summary": "Booked.", "confidence": 0.91}}
            case Drift.HIDDEN_LINK:
                link = self.stage.embedded_link(execution.recordings[0])
                turns[0]["text"] = f'I sent it to you: {link}, did "that" arrive?'
                return {"transcript": turns}
            case Drift.UNKNOWN_WORDS:
                return {"callEndedReason": "AGENT_HANDOFF", "mode": "SMS_AND_VOICE"}
            case Drift.UNKNOWN_FIELDS:
                return {"costCents": 12.75, "routing": {"carrier": "example", "hops": [1, 2]}, "complianceFlags": []}
            case Drift.BADLY_TYPED:
                return {"callDuration": f"{_seconds(execution)}s", "outbound": "true", "variables": []}
            case _:
                return {}


def _seconds(execution: Execution) -> float:
    return told_seconds(execution) or 0.0


def _place(execution: Execution) -> Place:
    return (execution.created_at, execution.execution_id)


def _cursor(execution: Execution) -> str:
    created_at, execution_id = _place(execution)
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {execution_id}".encode()).decode()


def _position(cursor: str | None) -> Place | None:
    """Return the place that ``cursor`` stands for.

    Raises:
        ValueError: the cursor is none of ours.
    """
    if not cursor:
        return None
    try:
        created_at, execution_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(created_at), execution_id
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise ValueError("cursor") from None
