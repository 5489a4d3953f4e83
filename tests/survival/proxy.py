"""A door in front of an S3 server that a test can shut: all at once, for writers only, or with an error for everybody."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tests.storage.seaweed import Seaweed

_PIECE = 256 * 1024
READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An S3 error.

    Attributes:
        status: HTTP.
        code: of S3.
        reads: whether reading is refused as well.
    """

    status: int
    code: str
    reads: bool = True

    def answer(self) -> bytes:
        """Return the whole answer."""
        body = f"<Error><Code>{self.code}</Code><Message>Refused by the test.</Message></Error>".encode()
        head = f"HTTP/1.1 {self.status} Refused\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + body


@dataclass
class Door:
    """The proxy. Open at first.

    Attributes:
        server: the S3 server behind it.
        port: its own.
    """

    server: Seaweed
    port: int
    _cut: bool = False
    _refusal: Refusal | None = None
    _connections: set[socket.socket] = field(default_factory=set[socket.socket])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def front(self) -> Seaweed:
        """The server, as it is reached through the door."""
        return replace(self.server, endpoint=f"http://127.0.0.1:{self.port}")

    def cut(self) -> None:
        """Lose all connections, and every new one."""
        self._cut = True
        self._drop()

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error from now on."""
        self._refusal = refusal
        self._drop()

    def open(self) -> None:
        """Let everything through again."""
        self._cut, self._refusal = False, None
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            for connection in list(self._connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        with client, contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            self._hold(stack, client)
            if self._cut:
                return
            head = b""
            refusal = self._refusal
            if refusal is not None:
                head = _read_head(client)
                if refusal.reads or head.split(b" ", 1)[0].decode() not in READS:
                    _drain(client, head)
                    client.sendall(refusal.answer())
                    return
                first, _, rest = head.partition(b"\r\n")
                head = first + b"\r\nConnection: close\r\n" + rest  # the next request comes through the door again
            target = urlsplit(self.server.endpoint)
            upstream = stack.enter_context(socket.create_connection((target.hostname or "", target.port or 0)))
            self._hold(stack, upstream)
            upstream.sendall(head)
            back = threading.Thread(target=_relay, args=(upstream, client), daemon=True)
            back.start()
            _relay(client, upstream)
            back.join()

    def _hold(self, stack: contextlib.ExitStack, connection: socket.socket) -> None:
        """Have a connection dropped when the door shuts, until it ends."""
        with self._lock:
            self._connections.add(connection)
        stack.callback(self._let_go, connection)

    def _let_go(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _read_head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(_PIECE)
        if not data:
            raise ConnectionError
        head += data
    return head


def _drain(client: socket.socket, head: bytes) -> None:
    """Take the body of a request that is refused, unless its sender waits to hear whether it is wanted."""
    fields, _, body = head.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in fields.split(b"\r\n")[1:])
    if b"expect" in lines:
        return
    left = int(lines.get(b"content-length", b"0")) - len(body)
    while left > 0 and (data := client.recv(_PIECE)):
        left -= len(data)


@contextlib.contextmanager
def running_door(server: Seaweed) -> Iterator[Door]:
    """Run a door in front of ``server``."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        door = Door(server, listener.getsockname()[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=door.serve, args=(client,), daemon=True).start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield door
        finally:
            door.cut()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
