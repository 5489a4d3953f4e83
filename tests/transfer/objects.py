"""An object behind links that lapse: an honest host that loses connections where a test says so."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from resources.model import Link
from tests.transfer.server import MediaServer, Request

ETAG = '"0123456789abcdef"'
DATE = "Fri, 20 Nov 2026 12:00:00 GMT"
_PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Hosted:
    """One object, at one path of a server. Whole bodies and ranges are answered as RFC 9110 has it.

    Attributes:
        body: its bytes.
        cuts: after how many bytes of its body each answer loses its connection; when they are used up, answers are whole.
        once: every link is good for one request, and answered 403 from then on.
        chunked: bodies announce no length.
        validators: the headers that prove what it is.
        sent: the bytes of bodies that went out.
        asked: the requests that came, in order.
        links: how many links were issued.
        path: where it is.
    """

    server: MediaServer = field(repr=False)
    body: bytes = field(repr=False)
    cuts: list[int] = field(default_factory=list)
    once: bool = False
    chunked: bool = False
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": ETAG, "Date": DATE})
    sent: int = 0
    asked: list[Request] = field(default_factory=list, repr=False)
    links: int = 0
    path: str = "/a"

    def __post_init__(self) -> None:
        self.server.scripts[self.path] = self._answer
        self._used: set[str] = set()

    def link(self) -> Link:
        """Issue a link that no other request has had."""
        self.links += 1
        return Link(f"{self.server.url(self.path)}&n={self.links}", None)

    def _answer(self, connection: socket.socket, request: Request) -> None:
        """Answer one request."""
        self.asked.append(request)
        if self.once and request.target in self._used:
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        self._used.add(request.target)
        first = self._first(request)
        total = len(self.body)
        if first is not None and first >= total:
            head = f"HTTP/1.1 416 No\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.encode())
            return
        lines = [f"{name}: {value}" for name, value in self.validators.items()]
        lines.append("Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {total - (first or 0)}")
        if first is not None:
            lines.append(f"Content-Range: bytes {first}-{total - 1}/{total}")
        status = "200 OK" if first is None else "206 Partial Content"
        connection.sendall("\r\n".join((f"HTTP/1.1 {status}", *lines, "\r\n")).encode())
        self._send(connection, memoryview(self.body)[first or 0 :], self.cuts.pop(0) if self.cuts else None)

    def _first(self, request: Request) -> int | None:
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        condition = request.headers.get("if-range")
        if found is None or (condition is not None and condition not in self.validators.values()):
            return None
        return int(found[1])

    def _send(self, connection: socket.socket, rest: memoryview, cut: int | None) -> None:
        whole = cut is None or cut >= len(rest)
        out = rest if whole else rest[:cut]
        for start in range(0, len(out), _PIECE):
            piece = out[start : start + _PIECE]
            self.sent += len(piece)  # before it goes: who has it all may look at once
            if self.chunked:
                connection.sendall(b"%x\r\n" % len(piece))
            connection.sendall(piece)
            if self.chunked:
                connection.sendall(b"\r\n")
        if whole and self.chunked:
            connection.sendall(b"0\r\n\r\n")
        if not whole:
            connection.shutdown(socket.SHUT_WR)


def join(chunks: Iterable[bytes]) -> bytes:
    """Return the whole body."""
    return b"".join(chunks)
