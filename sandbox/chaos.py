"""Chaos: a share of all calls fails, each in one of many ways; the same calls whenever the same questions are asked.

What becomes of a call is decided by the seed, by what is asked and by how often it was asked before, and by nothing else: not by
the time, and not by the order in which many callers come. So a run can be repeated, and a question that is asked again has
another chance. The provider does its work first, and then the answer is spoiled, as it is where an answer gets lost on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox.faults import Fault, FaultBoard
from sandbox.seeds import generator
from sandbox.tally import Tally

HTML_PAGE = "<!doctype html><html><head><title>Service unavailable</title></head><body><h1>Try again later</h1></body></html>"
RETRY_AFTER_SECONDS = (1, 3)
STALL_SECONDS = 60.0
"""How long a body stands still before its connection is dropped: longer than anybody who watches the rate waits."""

HangUp = Callable[[Scope], None]
"""Resets the connection that a request came on."""


class Way(StrEnum):
    """How a call fails."""

    SERVER_ERROR = "status-500"
    UNAVAILABLE = "status-503"
    RATE_LIMITED = "status-429"
    """With a Retry-After."""
    FORBIDDEN = "status-403"
    """An API refuses the key for once; a media host says that the link has expired."""
    HTML = "html-page-as-200"
    RESET = "reset"
    """The connection is reset before a byte of the answer."""
    CUT = "cut"
    """The body stops before the length that was announced."""
    CHUNKED_CUT = "chunked-cut"
    """The body announces no length, and is cut within its chunks."""
    ENDED_EARLY = "ended-early"
    """The body announces no length, and ends in good order before it is whole."""
    STALL = "stall"
    """The body stops flowing, and the connection stays."""
    OTHER_BYTES = "other-bytes"
    """The rest that was asked for is that of another object, with another ETag."""
    WHOLE = "whole"
    """The rest was asked for, and the whole comes."""


STATUSES = {Way.SERVER_ERROR: 500, Way.UNAVAILABLE: 503, Way.RATE_LIMITED: 429, Way.FORBIDDEN: 403}
BODILY = (Way.CUT, Way.CHUNKED_CUT, Way.ENDED_EARLY)
API_WAYS = (*STATUSES, Way.HTML, Way.RESET, *BODILY)
MEDIA_WAYS = (*API_WAYS, Way.STALL)
CONTINUATION_WAYS = (*MEDIA_WAYS, Way.OTHER_BYTES, Way.WHOLE)
WEIGHTS: dict[Way, float] = {Way.STALL: 0.1}
"""How likely a way is beside the others, where it is not 1: a stall is rare, because it takes real time."""


@dataclass(frozen=True, slots=True)
class Fate:
    """How one call fails.

    Attributes:
        way: how.
        place: after which part of the body, from 0 to 1, where it breaks.
        retry_after: seconds, for a 429.
    """

    way: Way
    place: float
    retry_after: int

    def bytes_of(self, length: int) -> int:
        """Return after how many of ``length`` bytes the body breaks; never after all of them."""
        return min(int(length * self.place), length - 1)


class ConnectionCut(Exception):  # noqa: N818  # not an error: the way to have the server drop a connection
    """Raised out of the application so that the server closes the connection in mid-body."""


class Chaos:
    """Decides the fate of every call, and counts it."""

    def __init__(self, faults: FaultBoard, tally: Tally) -> None:
        self._faults = faults
        self._tally = tally

    def fate(self, party: str, what: str, ways: Iterable[Way]) -> Fate | None:
        """Return how this call of ``party`` fails, or None where it is answered; ``what`` names the question."""
        if not self._faults.has(Fault.CHAOS):
            return None
        share, seed = self._faults.share(Fault.CHAOS)
        counts = self._tally.chaos
        counts.asked[party, what] += 1
        counts.calls[party] += 1
        rng = generator("chaos", seed, party, what, counts.asked[party, what])
        if rng.random() >= share:
            return None
        choice = tuple(ways)
        way = rng.choices(choice, [WEIGHTS.get(way, 1.0) for way in choice])[0]
        counts.failed[party, way] += 1
        return Fate(way, rng.random(), rng.randint(*RETRY_AFTER_SECONDS))


class BrokenResponse(Response):
    """An answer that does not arrive as it was meant."""

    def __init__(self, answer: Response, fate: Fate, hang_up: HangUp) -> None:
        super().__init__(bytes(answer.body), answer.status_code)
        self.raw_headers = list(answer.raw_headers)
        self._fate = fate
        self._hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what arrives of it."""
        body = bytes(self.body)
        if self._fate.way is Way.RESET or not body:
            await reset(scope, receive, self._hang_up)
            return
        if self._fate.way is not Way.CUT:
            del self.headers["content-length"]
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        part = body[: self._fate.bytes_of(len(body))]
        ended = self._fate.way is Way.ENDED_EARLY
        await send({"type": "http.response.body", "body": part, "more_body": not ended})
        if not ended:
            raise ConnectionCut


async def reset(scope: Scope, receive: Receive, hang_up: HangUp) -> None:
    """Reset the connection of a request, and return once it is gone."""
    hang_up(scope)
    await disconnection(receive)


async def disconnection(receive: Receive) -> None:
    """Return once the client has gone: what is sent after that is lost without a word."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def stand_still(gone: asyncio.Task[None]) -> None:
    """Send nothing until the client has had enough, then drop the connection.

    Raises:
        ConnectionCut: always.
    """
    await asyncio.wait({gone}, timeout=STALL_SECONDS)
    raise ConnectionCut


def proxy_page() -> Response:
    """Return the page that some proxy puts in front of everything, with a good status."""
    return HTMLResponse(HTML_PAGE)
