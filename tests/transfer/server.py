"""A real HTTP server whose answers are scripted down to the bytes, and which counts who connects."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

SECRET_QUERY = "X-Amz-Signature=s3cr3t-signature&X-Amz-Expires=60"  # noqa: S105 - looks like one, to be looked for


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


Script = Callable[[socket.socket, Request], None]


def answer(
    body: bytes = b"",
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    length: int | None = -1,
    cut: int | None = None,
) -> Script:
    """Return a script that sends one answer.

    Args:
        body: what follows the headers.
        status: the HTTP status.
        headers: further headers.
        length: the Content-Length to announce: -1 for the true one, None for none (and the connection closes).
        cut: close the connection after so many bytes of the body.
    """
    fields = dict(headers or {})
    if length is not None:
        fields["Content-Length"] = str(len(body) if length == -1 else length)
    else:
        fields["Connection"] = "close"
    head = f"HTTP/1.1 {status} Scripted\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"

    def script(connection: socket.socket, _: Request) -> None:
        connection.sendall(head.encode() + (body if cut is None else body[:cut]))
        if length is None or cut is not None:
            connection.shutdown(socket.SHUT_WR)

    return script


def chunked(body: bytes, *, piece: int = 1000, finish: bool = True, headers: Mapping[str, str] | None = None) -> Script:
    """Return a script that sends ``body`` chunked, with or without the chunk that marks its end."""
    further = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())

    def script(connection: socket.socket, _: Request) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{further}\r\n".encode())
        for start in range(0, len(body), piece):
            part = body[start : start + piece]
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        if finish:
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.shutdown(socket.SHUT_WR)

    return script


@dataclass
class MediaServer:
    """A server on loopback.

    Attributes:
        scripts: what each path answers.
        requests: what was asked, in order.
        connections: how many were accepted.
        release: set at the end; a script that hangs waits for it.
    """

    host: str
    port: int
    scripts: dict[str, Script] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, *, host: str | None = None) -> str:
        """Return a presigned-looking URL of ``path``."""
        return f"http://{host or self.host}:{self.port}{path}?{SECRET_QUERY}"

    def hang_after(self, head: bytes) -> Script:
        """Return a script that sends ``head`` and then nothing, until the test is over."""

        def script(connection: socket.socket, _: Request) -> None:
            connection.sendall(head)
            self.release.wait()
            connection.shutdown(socket.SHUT_RDWR)

        return script

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection."""
        with connection, connection.makefile("rb") as reader, contextlib.suppress(OSError):
            while (first := reader.readline()) not in {b"", b"\r\n"}:
                headers: dict[str, str] = {}
                while (line := reader.readline().strip()) != b"":
                    name, _, value = line.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                request = Request(first.decode("latin-1").split()[1], headers)
                self.requests.append(request)
                self.scripts.get(request.path, answer(b"no such script", status=404))(connection, request)


@contextlib.contextmanager
def running_server(host: str = "127.0.0.1", port: int = 0) -> Iterator[MediaServer]:
    """Run a server on a port of ``host`` (0: a free one), a thread for each connection."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(64)
    server = MediaServer(f"[{host}]" if family == socket.AF_INET6 else host, listener.getsockname()[1])
    stopped = threading.Event()
    threads: list[threading.Thread] = []
    open_connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if stopped.is_set():
                connection.close()
                return
            server.connections += 1
            open_connections.append(connection)
            thread = threading.Thread(target=server.serve, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        stopped.set()
        server.release.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in (acceptor, *threads):
            thread.join(timeout=5)
