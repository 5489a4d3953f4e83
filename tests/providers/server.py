"""A real HTTP server on a loopback port, whose answers a test scripts and whose requests it keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import msgspec


@dataclass(frozen=True, slots=True)
class Request:
    """What came: the path as it stood on the wire, the query decoded, header names in lower case."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Canned:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(document: object, status: int = 200, **headers: str) -> Canned:
    """Return a JSON answer; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Canned(status, msgspec.json.encode(document), {"Content-Type": "application/json"} | named)


class StubServer:
    """Answers every GET with what ``respond`` returns for it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.respond: Callable[[Request], Canned] = lambda _: Canned(404)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.stub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The root, without a trailing slash."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def script(self, *answers: Canned) -> None:
        """Give these answers one after the other; the last one stays."""
        left = list(answers)
        self.respond = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def route(self, routes: Mapping[str, Canned]) -> None:
        """Answer by path; anything else is a plain 404."""
        self.respond = lambda request: routes.get(request.path, Canned(404, b"no such page"))

    def stop(self) -> None:
        """Stop and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        stub = cast("StubServer", self.server.stub)  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(parts.path, dict(parse_qsl(parts.query)), headers)
        stub.requests.append(request)
        answer = stub.respond(request)
        self.send_response_only(answer.status)  # without a Date of its own: the tests have their own clock
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *args: object) -> None:
        """Say nothing: the tests look at the log."""
