"""What the three provider APIs have in common: keys, faults, counting. A provider's own manners are in ``sandbox/routes/``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import format_datetime
from enum import Enum, auto
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.chaos import API_WAYS, STATUSES, BrokenResponse, Way, proxy_page
from sandbox.executions import Execution, Recording
from sandbox.faults import Fault
from sandbox.plan import ProviderPlan
from sandbox.scenarios import Leg, Scenario
from sandbox.stage import Stage

JsonObject = dict[str, object]
Handler = Callable[[Request], Awaitable[Response]]

ENDPOINT_OTHER = "other"


class Readiness(Enum):
    """What one ask for a recording finds."""

    READY = auto()
    RUNNING = auto()
    NOT_READY = auto()
    ABSENT = auto()
    PURGED = auto()
    RATE_LIMITED = auto()
    SERVER_ERROR = auto()
    NOT_CONFIGURED = auto()


_UPLOADED = {Readiness.READY, Readiness.RATE_LIMITED, Readiness.SERVER_ERROR, Readiness.NOT_CONFIGURED}


class ProviderService(ABC):
    """One provider's API: subclass it in one file of ``sandbox/routes/`` and register it there."""

    plan: ClassVar[ProviderPlan]
    base_path: ClassVar[str]

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.plan.name

    @property
    def key(self) -> str:
        """The API key that is good."""
        return self.stage.keys[self.name]

    @abstractmethod
    def endpoints(self) -> dict[str, tuple[str, Handler]]:
        """Return endpoint name to path under ``base_path`` and handler, all of them GET."""

    @abstractmethod
    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a call with a wrong or missing key, or None."""

    @abstractmethod
    def error(self, status: HTTPStatus, message: str | None = None) -> Response:
        """Return an error in the provider's documented shape."""

    @abstractmethod
    def environment(self, base_url: str, files: Path) -> dict[str, str]:
        """Return the environment variables that point a client to this API; ``files`` is the provider's folder."""

    def write_files(self, folder: Path) -> None:
        """Write the files that a user of this provider would have. Called at start-up, and while time passes."""
        del folder  # most providers need none

    def routes(self) -> list[BaseRoute]:
        """Return the routes of this API, the last of which answers every other path of the provider."""
        routes: list[BaseRoute] = [
            Route(self.base_path + path, self._guarded(endpoint, handler), methods=["GET"])
            for endpoint, (path, handler) in self.endpoints().items()
        ]
        anything = Route(
            f"/{self.name}/{{rest:path}}",
            self._guarded(ENDPOINT_OTHER, self.unknown_path),
            methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        )
        return [*routes, anything]

    async def unknown_path(self, _request: Request) -> Response:
        """Answer a path that the API does not have."""
        return self.error(HTTPStatus.NOT_FOUND)

    def too_many(self) -> Response:
        """Return a 429 with Retry-After."""
        answer = self.error(HTTPStatus.TOO_MANY_REQUESTS)
        answer.headers["Retry-After"] = str(self.stage.world.options.retry_after_seconds)
        return answer

    def ask(self, execution: Execution, leg: Leg) -> tuple[Readiness, Recording | None]:
        """Count one ask for a recording and tell what it finds."""
        recording = next((found for found in execution.recordings if found.leg is leg), None)
        if recording is None:
            return Readiness.ABSENT, None
        counts = self.stage.tally.of(recording.key)
        counts.link_asks += 1
        return self._readiness(execution, recording, counts.link_asks), recording

    def is_uploaded(self, execution: Execution) -> bool:
        """Tell whether the main recording exists now, for fields that show its URL."""
        asks = self.stage.tally.link_asks(execution.recordings[0].key)
        return self._readiness(execution, execution.recordings[0], asks + 1) in _UPLOADED

    def _readiness(self, execution: Execution, recording: Recording, ask: int) -> Readiness:
        options, now = self.stage.world.options, self.stage.world.now()
        if execution.is_purged(now):
            return Readiness.PURGED
        if not execution.has_ended(now):
            return Readiness.RUNNING
        match recording.scenario:
            case Scenario.RATE_LIMITED if ask == 1:
                return Readiness.RATE_LIMITED
            case Scenario.SERVER_ERRORS if ask <= options.server_errors:
                return Readiness.SERVER_ERROR
            case Scenario.NOT_CONFIGURED if ask <= options.not_ready_asks:
                return Readiness.NOT_CONFIGURED
            case Scenario.NOT_READY_ASKS if ask <= options.not_ready_asks:
                return Readiness.NOT_READY
            case Scenario.ABSENT:
                return Readiness.ABSENT
            case _:
                return Readiness.READY if execution.is_ready(now) else Readiness.NOT_READY

    def _guarded(self, endpoint: str, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            tally = self.stage.tally
            tally.enter(self.name)
            tally.keys_in_urls += self.key in request.url.query
            status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
            try:
                answer = self._fault() or self.refusal(request) or self._late_fault() or await handler(request)
                answer = self._spoiled(answer, request)
                status = answer.status_code
                answer.headers["Date"] = format_datetime(self.stage.now().astimezone(UTC), usegmt=True)
                return answer
            finally:
                tally.leave(self.name, endpoint, status)

        return guarded

    def _fault(self) -> Response | None:
        faults = self.stage.faults
        if faults.has(Fault.EVERYTHING_500, self.name):
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR)
        if faults.has(Fault.WRONG_KEYS, self.name):
            return self.error(HTTPStatus.UNAUTHORIZED)
        return None

    def _spoiled(self, answer: Response, request: Request) -> Response:
        """Return what arrives of ``answer``: usually itself."""
        fate = self.stage.chaos.fate(self.name, f"{request.url.path}?{request.url.query}", API_WAYS)
        if fate is None:
            return answer
        if fate.way is Way.HTML:
            return proxy_page()
        if fate.way not in STATUSES:
            return BrokenResponse(answer, fate, self.stage.hang_up)
        error = self.error(HTTPStatus(STATUSES[fate.way]))
        if fate.way is Way.RATE_LIMITED:
            error.headers["Retry-After"] = str(fate.retry_after)
        return error

    def _late_fault(self) -> Response | None:
        faults = self.stage.faults
        if faults.has(Fault.FORBIDDEN, self.name):
            return self.error(HTTPStatus.FORBIDDEN)
        limit = faults.count(Fault.RATE_LIMIT)
        if limit and self.stage.tally.too_many(self.name, self.stage.now(), limit):
            return self.too_many()
        return None
