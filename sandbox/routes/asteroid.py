"""Asteroid: browser agents. Paged list, one execution, and a 307 to its recording."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
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

KEY_HEADER = "X-Asteroid-Agents-Api-Key"
DEFAULT_PAGE_SIZE = 10
MOST_PAGE_SIZE = 100
DEFAULT_SHIFT = 2
NEWEST_FIRST, OLDEST_FIRST = "created_at:desc", "created_at:asc"

PHASES = {
    "starting": "pending",
    "queued": "pending",
    "running": "active",
    "paused": "active",
    "awaiting_confirmation": "active",
    "paused_by_agent": "active",
    "hibernating": "active",
    "completed": "terminal",
    "cancelled": "terminal",
    "failed": "terminal",
}
_RUNNING = ("running", "paused", "awaiting_confirmation", "paused_by_agent", "starting")
_ENDED = ("completed",) * 6 + ("failed", "cancelled")


def _new_id(rng: Random, _created_at: datetime) -> str:
    return seeded_uuid(rng)


class Asteroid(ProviderService):
    """The browser agents' API."""

    base_path = "/asteroid/agents/v2"
    plan = ProviderPlan(
        name="asteroid",
        key_prefix="ast_sk_live_",
        link_seconds=60,
        share=0.36,
        must=(
            Scenario.NOT_READY_ASKS,
            Scenario.ABSENT,
            Scenario.PURGED,
            Scenario.STILL_RUNNING,
            Scenario.LATE_ROW,
            Scenario.NOT_READY_SECONDS,
            Scenario.PURGED_LATER,
            Scenario.LONG_RUNNING,
            Scenario.QUEUED,
            Scenario.NEVER_ENDS,
            Scenario.RATE_LIMITED,
            Scenario.SERVER_ERRORS,
            Scenario.MEDIA_ERROR,
            Scenario.MEDIA_CUT,
            Scenario.LINK_EXPIRED,
            Scenario.WRONG_LENGTH,
        ),
        usual={Scenario.READY: 20, Scenario.ABSENT: 1},
        drifts=(
            Drift.NEW_GENERATION,
            Drift.WARMUP,
            Drift.UNKNOWN_FIELDS,
            Drift.NONE,
            Drift.BADLY_TYPED,
            Drift.HIDDEN_LINK,
            Drift.ACTOR,
            Drift.MIDNIGHT,
            Drift.NEW_GENERATION,
            Drift.NONE,
        ),
        containers={Container.MP4: 3, Container.WEBM: 2},
        new_id=_new_id,
        run_seconds=(25, 900),
    )

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        rng = generator(stage.world.options.seed, "asteroid", "organization")
        self.organization_id = seeded_uuid(rng)
        self._agents = [(name, seeded_uuid(rng), seeded_uuid(rng)) for name in fiction.AGENTS]

    def endpoints(self) -> dict[str, tuple[str, Handler]]:
        """Return the list, the execution and the recording."""
        return {
            "list": ("/executions", self._list),
            "get": ("/executions/{execution_id}", self._get),
            "recording": ("/executions/{execution_id}/recording", self._recording),
        }

    def refusal(self, request: Request) -> Response | None:
        """Check the key header, or the documented ``token`` of the recording endpoint; then the organization."""
        token = request.query_params.get("token") if request.url.path.endswith("/recording") else None
        if self.key not in {request.headers.get(KEY_HEADER), token}:
            return self.error(HTTPStatus.UNAUTHORIZED)
        organization = request.query_params.get("organizationId")
        if organization is not None and organization != self.organization_id:
            return self.error(HTTPStatus.FORBIDDEN, "You do not have access to this organization")
        return None

    def error(self, status: HTTPStatus, message: str | None = None) -> Response:
        """Return ``{"code", "message"}``."""
        return JSONResponse({"code": int(status), "message": message or status.phrase}, status_code=status)

    def environment(self, base_url: str, files: Path) -> dict[str, str]:
        """Return key, base URL and organization."""
        del files
        return {
            "ASTEROID_API_KEY": self.key,
            "ASTEROID_BASE_URL": base_url,
            "ASTEROID_ORGANIZATION_ID": self.organization_id,
        }

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        if "organizationId" not in query:
            return self.error(HTTPStatus.BAD_REQUEST, "organizationId is required")
        try:
            page = _count(query.get("page"), 1)
            page_size = min(MOST_PAGE_SIZE, _count(query.get("pageSize"), DEFAULT_PAGE_SIZE))
            after, before = _moment(query.get("createdAfter")), _moment(query.get("createdBefore"))
            newest_first = {NEWEST_FIRST: True, OLDEST_FIRST: False}[query.get("sort", NEWEST_FIRST)]
        except (ValueError, KeyError) as error:
            return self.error(HTTPStatus.BAD_REQUEST, f"invalid query parameter: {error}")
        workflow_id = query.get("workflowId")
        statuses, phases = set(query.getlist("status")), set(query.getlist("phase"))
        edge = timedelta(microseconds=1 if self.stage.faults.has(Fault.ASTEROID_EXCLUSIVE_BOUNDS) else 0)
        found = [
            execution
            for execution in self.stage.world.visible(self.name)
            if (after is None or execution.created_at >= after + edge)
            and (before is None or execution.created_at <= before - edge)
            and (not statuses or self._status(execution) in statuses)
            and (not phases or PHASES[self._status(execution)] in phases)
            and (workflow_id is None or workflow_id in self._agent(execution)[1:])
        ]
        if newest_first:
            found.reverse()
        found = found[self._hidden(request) :]
        rows = found[(page - 1) * page_size : page * page_size]
        items = [self._row(execution) for execution in rows]
        return JSONResponse({"items": items, "page": page, "pageSize": page_size, "total": len(found)})

    def _hidden(self, request: Request) -> int:
        """Return how many rows at the front have not arrived yet, when pages are to shift while they are read."""
        if not self.stage.faults.has(Fault.ASTEROID_SHIFTING_PAGES):
            return 0
        rows = self.stage.faults.count(Fault.ASTEROID_SHIFTING_PAGES) or DEFAULT_SHIFT
        query = request.query_params
        walk = (query.get("createdAfter"), query.get("sort"), *query.getlist("status"), *query.getlist("phase"))
        hidden = max(0, rows - self.stage.tally.walks[walk])
        self.stage.tally.walks[walk] += 1
        return hidden

    async def _get(self, request: Request) -> Response:
        execution = self._find(request)
        return execution if isinstance(execution, Response) else JSONResponse(self._row(execution))

    async def _recording(self, request: Request) -> Response:
        execution = self._find(request)
        if isinstance(execution, Response):
            return execution
        readiness, recording = self.ask(execution, Leg.MAIN)
        if readiness is Readiness.RATE_LIMITED:
            return self.too_many()
        if readiness is Readiness.SERVER_ERROR:
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR)
        if readiness is not Readiness.READY or recording is None:
            return self.error(HTTPStatus.NOT_FOUND, "Recording not found")
        link = self.stage.link(recording)
        headers = {"Location": link.url, "Cache-Control": f"private, max-age={max(0, link.lifetime - 5)}"}
        return Response(status_code=HTTPStatus.TEMPORARY_REDIRECT, headers=headers)

    def _find(self, request: Request) -> Execution | Response:
        execution_id = str(request.path_params["execution_id"])
        try:
            uuid.UUID(execution_id)
        except ValueError:
            return self.error(HTTPStatus.BAD_REQUEST, "executionId must be a uuid")
        return self.stage.world.find(self.name, execution_id) or self.error(HTTPStatus.NOT_FOUND, "Execution not found")

    def _agent(self, execution: Execution) -> tuple[str, str, str]:
        return self._agents[execution.number % len(self._agents)]

    def _status(self, execution: Execution) -> str:
        rng = generator(execution.execution_id, "status")
        if execution.has_ended(self.stage.world.now()):
            return "cancelled" if execution.scenario is Scenario.ABSENT else rng.choice(_ENDED)
        special = {Scenario.QUEUED: "queued", Scenario.NEVER_ENDS: "hibernating"}
        return special.get(execution.scenario) or rng.choice(_RUNNING)

    def _row(self, execution: Execution) -> JsonObject:
        """Return the execution as the API shows it now."""
        now = self.stage.world.now()
        agent_name, workflow_id, version_id = self._agent(execution)
        row: JsonObject = {
            "id": execution.execution_id,
            "agentId": workflow_id,
            "workflowId": version_id,
            "status": self._status(execution),
            "createdAt": timestamp(execution.created_at),
            "organizationId": self.organization_id,
            "agentName": agent_name,
            "humanLabels": [],
            "comments": [],
            "hasBeenRerun": False,
        }
        ended = execution.ended_at is not None and execution.ended_at <= now
        if ended and execution.ended_at:
            row["terminalAt"] = timestamp(execution.ended_at)
            row["duration"] = told_seconds(execution)
        if execution.is_purged(now) and execution.purged_at:
            return row | self._generation(execution, new=True) | {"purgedAt": timestamp(execution.purged_at)}
        row |= self._details(execution)
        if ended:
            row["executionResult"] = self._result(execution)
            if self.is_uploaded(execution):
                row["recordingUrl"] = self.stage.embedded_link(execution.recordings[0])
                row["browserRecordingUrl"] = row["recordingUrl"]
        else:
            token = seeded_uuid(generator(execution.execution_id, "live"))
            row["liveViewUrl"] = f"https://live.example.com/view/{execution.execution_id}?token={token}"
            row["browserLiveViewUrl"] = row["liveViewUrl"]
        return row | self._drifted(execution, row)

    def _details(self, execution: Execution) -> JsonObject:
        rng = generator(execution.execution_id, "details")
        first, last = fiction.full_name(rng)
        noted_at = timestamp(execution.created_at + timedelta(minutes=3))
        row: JsonObject = {
            "agentProfileId": seeded_uuid(rng),
            "agentProfileName": f"{rng.choice(fiction.COMPANIES)} profile",
            "executionOptions": {"sharedStorageKey": f"customer-{rng.randrange(1000)}", "softTimeoutMins": 20},
            "inputs": {
                "startUrl": rng.choice(fiction.PORTALS),
                "customer": {"name": f"{first} {last}", "tags": ["vip", "émigré"] if rng.random() < 0.3 else []},  # noqa: PLR2004
                "amount": round(rng.uniform(10, 9000), 2),
                "invoiceCount": rng.randrange(40),
                "dryRun": rng.random() < 0.1,  # noqa: PLR2004
                "note": None,
            },
            "metadata": {"batch": f"{execution.date:%Y%m%d}-{rng.randrange(9)}", "source": "crm"},
            "triggerContext": self._trigger(execution, rng),
        }
        if execution.number % 3 == 0:
            row["humanLabels"] = [
                {
                    "id": seeded_uuid(rng),
                    "organizationId": self.organization_id,
                    "name": rng.choice(("needs review", "golden", "portal changed")),
                    "color": f"#{rng.getrandbits(24):06X}",
                    "createdAt": noted_at,
                }
            ]
        if execution.number % 4 == 0:
            row["comments"] = [self._comment(execution, rng, "Worked, but the portal asked for the code twice.")]
        if execution.number % 7 == 0:
            row |= {"parentExecutionId": seeded_uuid(rng), "hasBeenRerun": True}
        return row

    def _comment(self, execution: Execution, rng: Random, content: str) -> JsonObject:
        moment = timestamp(execution.created_at + timedelta(minutes=5))
        return {
            "id": seeded_uuid(rng),
            "executionId": execution.execution_id,
            "userId": seeded_uuid(rng),
            "content": content,
            "public": rng.random() < 0.5,  # noqa: PLR2004
            "createdAt": moment,
            "updatedAt": moment,
        }

    def _trigger(self, execution: Execution, rng: Random) -> JsonObject:
        first, last = fiction.full_name(rng)
        runner: JsonObject = {"userId": seeded_uuid(rng), "email": fiction.email(first, last), "isAdmin": False}
        if execution.drift is Drift.WARMUP:
            return {"source": "warmup", "warmPoolId": seeded_uuid(rng)}
        if execution.drift is Drift.ACTOR:
            return {"source": "ui", "actor": {"type": "user", **runner}}
        match execution.number % 3:
            case 0:
                key = {"id": seeded_uuid(rng), "name": "production"}
                return {"source": "api", "apiKey": key, "runner": runner}
            case 1:
                return {"source": "schedule", "schedule": {"id": seeded_uuid(rng), "cronExpression": "0 7 * * 1-5"}}
            case _:
                return {"source": "ui", "runner": runner}

    def _result(self, execution: Execution) -> JsonObject:
        rng = generator(execution.execution_id, "result")
        good = self._status(execution) == "completed"
        invoices = [{"number": f"INV-{rng.randrange(10**6):06d}", "total": round(rng.uniform(5, 500), 2)} for _ in range(3)]
        return {
            "id": seeded_uuid(rng),
            "executionId": execution.execution_id,
            "outcome": "success" if good else "failure",
            "reasoning": "All invoices were downloaded." if good else "The portal did not answer.",
            "result": {"invoices": invoices, "pages": rng.randrange(1, 9)} if good else None,
            "createdAt": timestamp(execution.ended_at or execution.created_at),
        }

    def _generation(self, execution: Execution, *, new: bool) -> JsonObject:
        """Return the ids of the new generation, in which ``workflowId`` is what was ``agentId``."""
        agent_name, workflow_id, version_id = self._agent(execution)
        if not new:
            return {}
        return {
            "workflowId": workflow_id,
            "workflowVersionId": version_id,
            "workflowVersion": 3 + execution.number % 5,
            "workflowVersionPublished": True,
            "workflowName": agent_name,
        }

    def _drifted(self, execution: Execution, row: JsonObject) -> JsonObject:
        """Return the fields in which the row departs from the document."""
        rng = generator(execution.execution_id, "drift")
        match execution.drift:
            case Drift.NEW_GENERATION | Drift.WARMUP | Drift.ACTOR:
                started_at = timestamp(execution.created_at + timedelta(seconds=2))
                return self._generation(execution, new=True) | {
                    "startedAt": started_at,
                    "profileId": row["agentProfileId"],
                    "profileName": row["agentProfileName"],
                    "customEnvironmentId": None,
                    "platformUrl": f"https://platform.example.com/executions/{execution.execution_id}",
                    "scriptFailures": [],
                }
            case Drift.UNKNOWN_FIELDS:
                return {"carbonGrams": 1.5, "reviewState": {"state": "open", "by": None}, "x-beta": [1, "two", None]}
            case Drift.BADLY_TYPED:
                return {
                    "duration": str(row.get("duration", 0)),
                    "hasBeenRerun": "no",
                    "metadata": ["not", "an", "object"],
                }
            case Drift.HIDDEN_LINK:
                link = self.stage.embedded_link(execution.recordings[0])
                return {"comments": [self._comment(execution, rng, f"Look at 0:42 of {link} (Dana has the rest).")]}
            case _:
                return {}


def _count(text: str | None, default: int) -> int:
    value = default if text is None else int(text)
    if value < 1:
        msg = f"{value} is below 1"
        raise ValueError(msg)
    return value


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
