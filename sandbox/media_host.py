"""The media origin: an object store that answers presigned URLs, with ranges, validators and faults."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox.chaos import (
    CONTINUATION_WAYS,
    MEDIA_WAYS,
    STATUSES,
    BrokenResponse,
    ConnectionCut,
    Fate,
    Way,
    disconnection,
    proxy_page,
    stand_still,
)
from sandbox.containers import body_of
from sandbox.error_pages import error_page
from sandbox.executions import Recording, timestamp
from sandbox.faults import Fault
from sandbox.media import Body, MediaPlan
from sandbox.ranges import Span, UnsatisfiableError, parse_range
from sandbox.scenarios import Scenario
from sandbox.seeds import generator
from sandbox.signatures import P_DATE, P_EXPIRES, Verdict, lapse
from sandbox.stage import Stage

PARTY = "media"
LEAKING_HEADERS = ("authorization", "x-api-key", "x-asteroid-agents-api-key", "x-account-id")

_SLOW_PIECES_PER_SECOND = 10
_OVERLAP_BYTES = 100
_OTHER_BYTES = bytes(255 - byte for byte in range(256))
_REPLACING = frozenset({*STATUSES, Way.HTML, Way.RESET})
_BREAKING = frozenset({Way.CUT, Way.CHUNKED_CUT, Way.ENDED_EARLY, Way.STALL})
_CHAOS_ERRORS = {
    Way.SERVER_ERROR: ("InternalError", "We encountered an internal error."),
    Way.UNAVAILABLE: ("ServiceUnavailable", "Please try again."),
    Way.RATE_LIMITED: ("SlowDown", "Please reduce your request rate."),
    Way.FORBIDDEN: ("AccessDenied", "Request has expired"),
}
_VERDICT_ERRORS = {
    Verdict.MISSING: ("AccessDenied", "Access Denied"),
    Verdict.EXPIRED: ("AccessDenied", "Request has expired"),
    Verdict.WRONG: (
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    ),
}


class MediaHost:
    """The ASGI application of the media origin."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        tally = self._stage.tally
        headers = Headers(scope=scope)
        if any(name in headers for name in LEAKING_HEADERS):
            tally.media_header_leaks += 1
        tally.enter(PARTY)
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        try:
            answer = self._answer(scope, headers)
            if isinstance(answer, Response):
                status = answer.status_code
                answer.headers.update(self._common())
                await answer(scope, receive, send)
            else:
                status = answer.status
                await answer.send(receive, send)
        finally:
            tally.leave(PARTY, scope["method"], status)

    def _answer(self, scope: Scope, headers: Headers) -> Response | _Transfer:
        found = self._find(scope, headers)
        if isinstance(found, Response):
            return found
        recording, plan = found
        head = scope["method"] == "HEAD"
        counts = self._stage.tally.of(recording.key)
        counts.media_gets += not head
        first = not head and counts.media_gets == 1
        if first and recording.scenario is Scenario.MEDIA_ERROR:
            return _xml_error(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", "We encountered an internal error.")
        page = error_page(
            self._stage.faults, str(scope["path"]), bytes(scope["query_string"]).decode("latin-1"), counts.media_gets
        )
        if page is not None:
            return page
        ways = CONTINUATION_WAYS if "range" in headers else MEDIA_WAYS
        fate = None if head else self._stage.chaos.fate(PARTY, recording.path, ways)
        if fate is not None and fate.way in _REPLACING:
            return self._replacement(fate)
        answer = self._object(recording, plan, headers, fate.way if fate else None)
        if isinstance(answer, _Transfer):
            answer.head = head
            answer.fate = fate
            if first and recording.scenario is Scenario.MEDIA_CUT:
                answer.cut_after = answer.length // 2
        return answer

    def _replacement(self, fate: Fate) -> Response:
        """Return what is answered instead of an object."""
        if fate.way is Way.HTML:
            return proxy_page()
        if fate.way is Way.RESET:
            return BrokenResponse(Response(), fate, self._stage.hang_up)
        answer = _xml_error(HTTPStatus(STATUSES[fate.way]), *_CHAOS_ERRORS[fate.way])
        if fate.way is Way.RATE_LIMITED:
            answer.headers["Retry-After"] = str(fate.retry_after)
        return answer

    def _find(self, scope: Scope, headers: Headers) -> Response | tuple[Recording, MediaPlan]:
        """Return the object that a request is for, or why it may not have it."""
        stage, path, query = self._stage, str(scope["path"]), bytes(scope["query_string"]).decode("latin-1")
        if scope["method"] not in {"GET", "HEAD"}:
            return _xml_error(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", "The method is not allowed.")
        if stage.faults.has(Fault.MEDIA_REDIRECT):
            location = stage.faults.text(Fault.MEDIA_REDIRECT) or ""
            return Response(status_code=HTTPStatus.FOUND, headers={"Location": location})
        verdict = stage.signer.verdict(headers.get("host", ""), path, query, now=stage.now())
        if verdict is not Verdict.GOOD:
            return _xml_error(HTTPStatus.FORBIDDEN, *_VERDICT_ERRORS[verdict], **self._expiry(verdict, query))
        recording = stage.world.recording_at(path)
        if recording is None or recording.media is None:
            return _xml_error(HTTPStatus.NOT_FOUND, "NoSuchKey", "The specified key does not exist.", Key=path[1:])
        return recording, recording.media

    def _object(self, recording: Recording, plan: MediaPlan, headers: Headers, way: Way | None) -> Response | _Transfer:
        """Answer with the object, or with the part of it that ``headers`` ask for."""
        faults, body, etag = self._stage.faults, body_of(plan), plan.etag
        if faults.has(Fault.MEDIA_NEW_ETAG) or way is Way.OTHER_BYTES:
            etag = f'"{self._stage.tally.of(recording.key).media_gets:x}-{etag[1:]}'
        told = self._common() | {
            "Content-Type": plan.container.content_type,
            "ETag": etag,
            "Last-Modified": format_datetime(self._changed_at(recording), usegmt=True),
            "Accept-Ranges": "bytes",
        }
        if etag in headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
        wanted: Span | None = None
        # A host that sends the rest of something else has left If-Range out of account.
        holds = way is Way.OTHER_BYTES or _range_holds(headers.get("if-range"), etag, told["Last-Modified"])
        if holds and way is not Way.WHOLE and not faults.has(Fault.MEDIA_NO_RANGES):
            try:
                wanted = parse_range(headers.get("range"), body.length)
            except UnsatisfiableError:
                return _unsatisfiable(body.length)
        if wanted is None:
            return _Transfer(self._stage, recording, body, Span(0, body.length), headers=told)
        if faults.has(Fault.MEDIA_OVERLAP):
            overlap = faults.count(Fault.MEDIA_OVERLAP) or _OVERLAP_BYTES
            wanted = Span(max(0, wanted.start - overlap), wanted.stop)
        told["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{body.length}"
        return _Transfer(self._stage, recording, body, wanted, headers=told)

    def _changed_at(self, recording: Recording) -> datetime:
        execution = self._stage.world.find(recording.provider, recording.execution_id)
        moment = execution.ready_at if execution and execution.ready_at else self._stage.world.anchor
        return moment.replace(microsecond=0)

    def _common(self) -> dict[str, str]:
        return {"Date": format_datetime(self._stage.now().astimezone(UTC), usegmt=True), "Server": "AmazonS3"}

    def _expiry(self, verdict: Verdict, query: str) -> dict[str, str]:
        if verdict is not Verdict.EXPIRED:
            return {}
        fields = dict(parse_qsl(query))
        return {
            P_EXPIRES: fields[P_EXPIRES],
            "Expires": timestamp(lapse(fields[P_DATE], fields[P_EXPIRES])),
            "ServerTime": timestamp(self._stage.now().replace(microsecond=0)),
        }


class _Transfer:
    """One body on its way out."""

    def __init__(self, stage: Stage, recording: Recording, body: Body, span: Span, *, headers: dict[str, str]) -> None:
        self._stage = stage
        self._recording = recording
        self._body = body
        self._span = span
        self._headers = headers
        self.status = HTTPStatus.PARTIAL_CONTENT if "Content-Range" in headers else HTTPStatus.OK
        self.length = span.stop - span.start
        self.head = False
        self.cut_after: int | None = None
        self.fate: Fate | None = None

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the head and, unless it was a HEAD, the body, with the faults that are on."""
        faults = self._stage.faults
        length: int | None = self.length
        pieces: Iterator[bytes] = self._body.chunks(self._span.start, self._span.stop)
        if faults.has(Fault.MEDIA_GZIP):
            packed = await asyncio.to_thread(gzip.compress, b"".join(pieces), 1, mtime=0)
            pieces, length = iter((packed,)), len(packed)
            self._headers["Content-Encoding"] = "gzip"
        if faults.has(Fault.MEDIA_TRUNCATE):
            self.cut_after = faults.count(Fault.MEDIA_TRUNCATE) or length // 2
        if faults.has(Fault.MEDIA_NO_LENGTH):
            pieces = iter((b"".join(pieces)[: faults.count(Fault.MEDIA_NO_LENGTH) or length // 2],))
            length = None
        way = self.fate.way if self.fate else None
        if self.fate and way in _BREAKING:
            self.cut_after = self.fate.bytes_of(self.length)
        if way in {Way.CHUNKED_CUT, Way.ENDED_EARLY}:
            length = None
        if way is Way.OTHER_BYTES:
            pieces = (piece.translate(_OTHER_BYTES) for piece in pieces)
        if length is not None:
            self._headers["Content-Length"] = str(length)
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        if not self.head:
            gone = asyncio.create_task(disconnection(receive))
            try:
                await self._send_body(send, pieces, gone)
            finally:
                gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_body(self, send: Send, pieces: Iterator[bytes], gone: asyncio.Task[None]) -> None:
        bytes_per_second = self._stage.faults.count(Fault.MEDIA_SLOW)
        counts = self._stage.tally.of(self._recording.key)
        sent = 0
        for piece in _slices(pieces, bytes_per_second):
            if gone.done():
                return
            part = piece if self.cut_after is None else piece[: self.cut_after - sent]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            sent += len(part)
            counts.media_bytes += len(part)
            if self.cut_after is not None and sent >= self.cut_after:
                await self._break_off(gone)
                return
            if bytes_per_second:
                await asyncio.sleep(len(part) / bytes_per_second)

    async def _break_off(self, gone: asyncio.Task[None]) -> None:
        """End a body that is not whole, in the way that was chosen for it."""
        way = self.fate.way if self.fate else Way.CUT
        if way is Way.ENDED_EARLY:
            return
        if way is Way.STALL:
            await stand_still(gone)
        raise ConnectionCut


def _slices(pieces: Iterator[bytes], bytes_per_second: int | None) -> Iterator[bytes]:
    if not bytes_per_second:
        yield from pieces
        return
    size = max(1, bytes_per_second // _SLOW_PIECES_PER_SECOND)
    for piece in pieces:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]


def _range_holds(if_range: str | None, etag: str, last_modified: str) -> bool:
    """Tell whether a ``Range`` counts, given ``If-Range``: a strong ETag or an exact date."""
    if if_range is None:
        return True
    if if_range.startswith(('"', "W/")):
        return if_range == etag
    try:
        return parsedate_to_datetime(if_range) == parsedate_to_datetime(last_modified)
    except ValueError:
        return False


def _unsatisfiable(length: int) -> Response:
    message = "The requested range is not satisfiable"
    answer = _xml_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "InvalidRange", message)
    answer.headers["Content-Range"] = f"bytes */{length}"
    return answer


def _xml_error(status: HTTPStatus, code: str, message: str, **more: str) -> Response:
    rng = generator(code, sorted(more.items()))
    fields = {"Code": code, "Message": message} | more
    fields |= {"RequestId": f"{rng.getrandbits(64):016X}", "HostId": f"{rng.getrandbits(256):064x}"}
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inside}</Error>'
    return Response(text, status_code=status, media_type="application/xml")
