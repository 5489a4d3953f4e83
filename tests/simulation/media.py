"""The media hosts, in place of libcurl: an answer's head and bytes, or libcurl's codes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

import pycurl

from resources.transfer.curl import Admit, Exchange, Limits
from tests.simulation.scheduler import START, Process
from tests.simulation.world import MediaFault, RangeManner, World

_ADDRESS = "93.184.216.34"
_PIECE = 2048
_PAGE = b"<!doctype html><html><body>Something went wrong</body></html>" + b" " * 200


class SimulatedExchange(Exchange):
    """One connection to the media hosts, as one process reaches them."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._body = b""
        self._sent = 0
        self._breaks_at: int | None = None
        self._code_at_end = pycurl.E_OK
        self.head_done = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.code: int | None = None

    def start(self, url: str, limits: Limits, *, seconds: float, admit: Admit, request_headers: Sequence[str] = ()) -> None:
        """Ask: what comes is decided at once."""
        del seconds
        world, process = self._world, self._process
        process.step()
        world.requests["media"] += 1
        process.sleep(world.rng.uniform(0.01, 0.3))
        self._body, self._sent, self._breaks_at, self._code_at_end = b"", 0, None, pycurl.E_OK
        self.head_done, self.status, self.headers, self.code = False, 0, {}, None
        if not admit(_ADDRESS):
            self.code = pycurl.E_COULDNT_CONNECT
            return
        token = world.tokens[parse_qs(urlsplit(url).query)["X-Amz-Signature"][0]]
        fault = world.media_fault()
        if fault is MediaFault.RESET:
            self.code = pycurl.E_RECV_ERROR
            return
        self.head_done = True
        self.headers = {"date": format_datetime(world.clock.truth, usegmt=True)}
        if fault is MediaFault.EXPIRED or token.expires_at <= world.clock.elapsed:
            self._say(403, b"<Error><Code>AccessDenied</Code></Error>", "application/xml")
        elif fault is MediaFault.SERVER_ERROR:
            self._say(500, _PAGE, "text/html")
        elif fault is MediaFault.RATE_LIMIT:
            self.headers["retry-after"] = "2"
            self._say(429, b"slow down", "text/plain")
        elif fault is MediaFault.ERROR_PAGE:
            self._say(200, _PAGE, "text/html")
        else:
            self._serve(token.recording.body(world.clock.elapsed), list(request_headers), fault)
        del limits

    def _say(self, status: int, body: bytes, kind: str) -> None:
        self.status, self._body = status, body
        self.headers |= {"content-type": kind, "content-length": str(len(body))}

    def _serve(self, whole: bytes, request_headers: list[str], fault: MediaFault | None) -> None:
        etag = '"' + hashlib.sha256(whole).hexdigest()[:16] + '"'
        asked = dict(line.split(": ", 1) for line in request_headers)
        self._say(200, whole, "audio/wav")
        self.headers |= {"etag": etag, "last-modified": format_datetime(START - timedelta(days=1), usegmt=True)}
        manner = self._world.range_manner() if "Range" in asked else RangeManner.WHOLE
        if "Range" in asked and manner is not RangeManner.WHOLE and asked.get("If-Range", etag) == etag:
            self._serve_range(whole, int(asked["Range"].removeprefix("bytes=").removesuffix("-")), manner)
        length = len(self._body)
        if fault in (MediaFault.CUT, MediaFault.SLOW, MediaFault.SHORT):
            self._breaks_at = self._world.rng.randrange(length) if length else 0
            codes = {MediaFault.CUT: pycurl.E_PARTIAL_FILE, MediaFault.SLOW: pycurl.E_OPERATION_TIMEDOUT}
            self._code_at_end = codes.get(fault, pycurl.E_OK)

    def _serve_range(self, whole: bytes, start: int, manner: RangeManner) -> None:
        if manner is RangeManner.OVERLAP:
            start = max(0, start - 100)
        if start >= len(whole):
            self._say(416, b"", "text/plain")
            self.headers["content-range"] = f"bytes */{len(whole)}"
            return
        body = whole[start:]
        if manner is RangeManner.OTHER_BYTES:
            # A host that repeats an ETag for other bytes: only an overlap can show it, so it sends one.
            start = max(0, start - 100)
            body = bytes(byte ^ 1 for byte in whole[start:])
        self._say(206, body, "audio/wav")
        self.headers["content-range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        if manner is RangeManner.NO_VALIDATOR:
            del self.headers["etag"]

    def wait_for_head(self) -> None:
        """The head is there, or there is none."""
        self._process.step()

    def read(self, size: int) -> bytes:
        """Return at least ``size`` bytes; fewer only at the end, where :attr:`code` is set."""
        taken: list[bytes] = []
        while sum(map(len, taken)) < size and self.code is None:
            self._process.step()
            end = len(self._body) if self._breaks_at is None else self._breaks_at
            piece = self._body[self._sent : min(end, self._sent + _PIECE)]
            self._sent += len(piece)
            if not piece:
                self._end()
            taken.append(piece)
        return b"".join(taken)

    def _end(self) -> None:
        if self._code_at_end == pycurl.E_OPERATION_TIMEDOUT:
            self._process.sleep(30)
        self.code = self._code_at_end

    def stop(self) -> None:
        """End the request."""

    def close(self) -> None:
        """Close the connection."""
