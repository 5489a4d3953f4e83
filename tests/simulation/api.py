"""The three providers' APIs, behind the seam of the real HTTP client, written from the providers' documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from urllib.parse import unquote

import httpx

from resources.model import Leg
from tests.simulation.scheduler import START, Process
from tests.simulation.world import ApiFault, Execution, Recording, World

_PAGE = "<html><body>Something went wrong</body></html>"


def _moment(elapsed: float) -> str:
    return f"{START + timedelta(seconds=elapsed):%Y-%m-%dT%H:%M:%S.%f}Z"


class SimulatedApi(httpx.BaseTransport):
    """One provider's API as one process reaches it."""

    def __init__(self, world: World, process: Process, provider: str) -> None:
        self._world = world
        self._process = process
        self._provider = provider
        self._answer: Callable[[list[str], httpx.QueryParams], httpx.Response] = {
            "asteroid": self._asteroid,
            "feather": self._feather,
            "kataven": self._kataven,
        }[provider]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or fail."""
        world, process = self._world, self._process
        process.step()
        world.calls[self._provider].append(world.clock.elapsed)
        world.requests["api"] += 1
        process.sleep(world.rng.uniform(0.02, 0.5))
        response = self._failed(request) or self._answer(_segments(request), request.url.params)
        response.headers["Date"] = format_datetime(world.clock.truth, usegmt=True)
        response.request = request
        return response

    def _failed(self, request: httpx.Request) -> httpx.Response | None:
        fault = self._world.api_fault()
        match fault:
            case None:
                return None
            case ApiFault.RESET:
                raise httpx.ReadError("reset", request=request)
            case ApiFault.STALL:
                self._process.sleep(60)
                raise httpx.ReadTimeout("stalled", request=request)
            case ApiFault.RATE_LIMIT:
                seconds = self._world.rng.choice(("1", "20", "3600", "3600", ""))
                return httpx.Response(429, headers={"Retry-After": seconds} if seconds else {}, text="slow down")
            case ApiFault.SERVER_ERROR:
                return httpx.Response(500, text="internal error")
            case ApiFault.UNAVAILABLE:
                return httpx.Response(502, html=_PAGE)
            case ApiFault.ERROR_PAGE:
                return httpx.Response(200, html=_PAGE)
            case ApiFault.HALF_JSON:
                return httpx.Response(200, text='{"items": [{"id": "')

    def _recording(self, execution: Execution | None, leg: Leg) -> tuple[Recording | None, bool]:
        """Return the recording that can be had now, and whether it may still come."""
        recording = execution.recordings.get(leg) if execution else None
        if execution is None or recording is None:
            return None, False
        now = self._world.clock.elapsed
        purged = execution.purged_at is not None and execution.purged_at <= now
        if recording.exists and recording.ready_at <= now and not purged:
            return recording, True
        return None, recording.exists and not purged

    # -- Asteroid

    def _asteroid(self, path: list[str], query: httpx.QueryParams) -> httpx.Response:
        match path[2:]:
            case ["executions"]:
                after, before = datetime.fromisoformat(query["createdAfter"]), datetime.fromisoformat(query["createdBefore"])
                rows = [
                    self._asteroid_row(each)
                    for each in self._world.visible("asteroid")
                    if after <= START + timedelta(seconds=each.created_at) <= before
                ]
                page = rows if query["page"] == "1" else []
                return httpx.Response(200, json={"items": page, "page": int(query["page"]), "pageSize": 100, "total": len(rows)})
            case ["executions", execution_id]:
                found = self._world.find("asteroid", execution_id)
                return httpx.Response(200, json=self._asteroid_row(found)) if found else _not_found()
            case ["executions", execution_id, "recording"]:
                recording, _ = self._recording(self._world.find("asteroid", execution_id), Leg.MAIN)
                if recording is None:
                    return _not_found()
                return httpx.Response(307, headers={"Location": self._world.new_link(recording)[0]})
            case _:
                return _not_found()

    def _asteroid_row(self, execution: Execution) -> dict[str, object]:
        now = self._world.clock.elapsed
        ended = execution.ended_at <= now
        row: dict[str, object] = {
            "id": execution.execution_id,
            "createdAt": _moment(execution.created_at),
            "status": "completed" if ended else "running",
            "terminalAt": _moment(execution.ended_at) if ended else None,
            "agentName": "someone",
        }
        if execution.purged_at is not None and execution.purged_at <= now:
            return {name: row[name] for name in ("id", "createdAt", "status")} | {"purgedAt": _moment(execution.purged_at)}
        return row

    # -- Feather

    def _feather(self, path: list[str], query: httpx.QueryParams) -> httpx.Response:
        match path[3:]:
            case []:
                calls = [self._feather_row(each) for each in reversed(self._world.visible("feather"))]
                size = int(query["limit"])
                start = int(query.get("cursor", "0"))
                following = str(start + size) if start + size < len(calls) else None
                page = {"limit": size, "nextCursor": following}
                return httpx.Response(200, json={"agentCalls": calls[start : start + size], "pagination": page})
            case [execution_id]:
                found = self._world.find("feather", execution_id)
                return httpx.Response(200, json={"agentCall": self._feather_row(found)}) if found else _bad_request()
            case [execution_id, "recording-url"]:
                recording, coming = self._recording(self._world.find("feather", execution_id), Leg(query["type"]))
                if recording is not None:
                    url, expires_at = self._world.new_link(recording)
                    return httpx.Response(200, json={"url": url, "expiresAt": _moment(expires_at)})
                return httpx.Response(503, json={"status": 500, "message": "retry"}) if coming else _bad_request()
            case _:
                return _bad_request()

    def _feather_row(self, execution: Execution) -> dict[str, object]:
        ended = execution.ended_at <= self._world.clock.elapsed
        return {
            "id": execution.execution_id,
            "createdAt": _moment(execution.created_at),
            "updatedAt": _moment(min(execution.ended_at, self._world.clock.elapsed)),
            "status": "COMPLETED" if ended else "IN_PROGRESS",
            "callEndedAt": _moment(execution.ended_at) if ended else None,
            "callEndedReason": ("WARM_TRANSFER" if Leg.SUPERVISOR in execution.recordings else "ENDED") if ended else None,
        }

    # -- Kataven

    def _kataven(self, path: list[str], _query: httpx.QueryParams) -> httpx.Response:
        match path[1:]:
            case ["sessions", session_id, "recording"]:
                recording, coming = self._recording(self._world.find("kataven", session_id), Leg.MAIN)
                if recording is not None:
                    url, expires_at = self._world.new_link(recording)
                    return httpx.Response(200, json={"presigned_url": url, "expires_at": _moment(expires_at)})
                return httpx.Response(409, text="not ready") if coming else httpx.Response(404, text="no recording")
            case _:
                return httpx.Response(404, text="404 page not found")

    def inventory(self) -> bytes:
        """Return the session inventory as the user exports it now."""
        rows = [
            {"session_id": each.execution_id, "started_at": _moment(each.created_at), "ended_at": _moment(each.ended_at)}
            for each in self._world.visible("kataven")
        ]
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _segments(request: httpx.Request) -> list[str]:
    raw = request.url.raw_path.decode().partition("?")[0]
    return [unquote(part) for part in raw.strip("/").split("/")]


def _not_found() -> httpx.Response:
    return httpx.Response(404, json={"code": 404, "message": "not found"})


def _bad_request() -> httpx.Response:
    body = {"status": 400, "message": "Agent call not found or has no recording", "code": "BAD_REQUEST", "success": False}
    return httpx.Response(400, json=body)
