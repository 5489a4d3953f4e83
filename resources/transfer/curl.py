"""libcurl through pycurl, as a typed, pulled stream of one request after another.

pycurl brings no types, and libcurl pushes bytes into callbacks. Here is the one place that deals with both: an
:class:`Exchange` owns an easy and a multi handle (and with it the connections to reuse), and hands out bytes when it is asked
for them.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

import certifi
import pycurl  # pyright: ignore[reportMissingModuleSource]

CONNECT_SECONDS = 15
MAX_CONNECTIONS_KEPT = 4
_BUFFER_BYTES = 256 * 1024  # measured on loopback, hash included: 64 KiB 700 MB/s, 128 KiB 870, 256 KiB 960, 512 KiB 860
_WAIT_SECONDS = 1.0
_INFORMATIONAL = range(100, 200)
_STATUS_LINE = re.compile(r"HTTP/[0-9.]+ ([0-9]{3})(?: |$)")
_CERTIFICATE_VARIABLE = "SSL_CERT_FILE"

Admit = Callable[[str], bool]
"""Says whether an IP address may be connected to."""


class _Easy(Protocol):
    def setopt(self, option: int, value: object) -> None: ...

    def getinfo(self, info: int) -> object: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


class _Multi(Protocol):
    def setopt(self, option: int, value: object) -> None: ...

    def add_handle(self, easy: _Easy) -> None: ...

    def remove_handle(self, easy: _Easy) -> None: ...

    def perform(self) -> tuple[int, int]: ...

    def select(self, seconds: float) -> int: ...

    def info_read(self) -> tuple[int, list[_Easy], list[tuple[_Easy, int, str]]]: ...

    def close(self) -> None: ...


class Limits(Protocol):
    """What a request may take."""

    @property
    def max_bytes(self) -> int:
        """The largest body."""
        ...

    @property
    def stall_seconds(self) -> int:
        """How long it may be slower than ``min_bytes_per_second``."""
        ...

    @property
    def min_bytes_per_second(self) -> int:
        """See ``stall_seconds``."""
        ...


def _certificates() -> str:
    """Return the authorities that httpx trusts too: the wheel's libcurl only knows the place of the system it was built on."""
    chosen = os.environ.get(_CERTIFICATE_VARIABLE)
    return chosen if chosen and Path(chosen).is_file() else certifi.where()


class Exchange:
    """One request at a time, its headers and its bytes. Belongs to one thread at a time.

    Attributes:
        status: of the last answer; 0 before there is one.
        head_done: whether all headers of the final answer are there.
        headers: lower-case names; repeated ones are joined by a comma.
        code: libcurl's code once the transfer has ended, 0 for a good end; None while it goes on.
    """

    def __init__(self) -> None:
        """Make the handles; nothing is connected."""
        self._easy = cast("_Easy", pycurl.Curl())
        self._multi = cast("_Multi", pycurl.CurlMulti())
        self._multi.setopt(pycurl.M_MAXCONNECTS, MAX_CONNECTIONS_KEPT)
        self._busy = False
        self._chunks: list[bytes] = []
        self._held = 0
        self._in_head = False
        self.head_done = False
        self._admit: Admit | None = None
        self._sockets: list[socket.socket] = []
        self.status = 0
        self.headers: dict[str, str] = {}
        self.code: int | None = None

    def start(self, url: str, limits: Limits, *, seconds: float, admit: Admit, request_headers: Sequence[str] = ()) -> None:
        """Begin a GET. Redirects are answers like any other; nothing is decoded; no proxy, no credentials, no cookies.

        Args:
            url: ASCII, checked by the caller.
            limits: what it may take.
            seconds: the deadline of the whole request.
            admit: is asked for every address before a connection to it is made; must not raise.
            request_headers: further header lines: ``Range`` and ``If-Range`` of a continued transfer.
        """
        self.stop()
        self._admit = admit
        self._chunks, self._held, self._in_head, self.head_done = [], 0, False, False
        self.status, self.headers, self.code = 0, {}, None
        easy = self._easy
        easy.reset()
        easy.setopt(pycurl.URL, url)
        easy.setopt(pycurl.HTTPHEADER, ["Accept: */*", "Accept-Encoding: identity", *request_headers])
        easy.setopt(pycurl.USERAGENT, "recording-archive")
        for option, value in (
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PATH_AS_IS, 1),  # a signature covers the path as it is written
            (pycurl.HTTP_CONTENT_DECODING, 0),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),  # one body for each connection: no shared window
            (pycurl.PROXY, ""),  # the environment's proxies are for others: they would see the link
            (pycurl.NOPROXY, "*"),
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.NOSIGNAL, 1),
            (pycurl.CAINFO, _certificates()),
            (pycurl.CONNECTTIMEOUT, CONNECT_SECONDS),
            (pycurl.TIMEOUT_MS, max(1, int(seconds * 1000))),
            (pycurl.LOW_SPEED_LIMIT, limits.min_bytes_per_second),
            (pycurl.LOW_SPEED_TIME, limits.stall_seconds),
            (pycurl.MAXFILESIZE_LARGE, limits.max_bytes),
            (pycurl.BUFFERSIZE, _BUFFER_BYTES),
            (pycurl.OPENSOCKETFUNCTION, self._on_socket),
            (pycurl.HEADERFUNCTION, self._on_header),
            (pycurl.WRITEFUNCTION, self._on_body),
        ):
            easy.setopt(option, value)
        self._multi.add_handle(easy)
        self._busy = True

    def _on_socket(self, _purpose: int, address: tuple[int, int, int, tuple[object, ...]]) -> object:
        family, kind, protocol, where = address
        if self._admit is None or not self._admit(str(where[0])):
            return pycurl.SOCKET_BAD
        made = socket.socket(family, kind, protocol)
        self._sockets.append(made)
        return made

    def _on_header(self, line: bytes) -> None:
        text = line.decode("latin-1").strip()
        if not self._in_head and (status := _STATUS_LINE.match(text)):
            # Only the first line of a head is a status line: a field whose name looks like one is a field.
            self.headers, self._in_head = {}, True
            self.status = int(status.group(1))
        elif not text:
            self.head_done = self.status not in _INFORMATIONAL
            self._in_head = self.head_done
        elif not self.head_done:  # what follows the body are trailers
            name, _, value = text.partition(":")
            name, value = name.strip().lower(), value.strip()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    def _on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._held += len(data)

    def wait_for_head(self) -> None:
        """Go on until the headers of the final answer are there, or the transfer has ended."""
        while not self.head_done and self.code is None:
            self._step()

    def read(self, size: int) -> bytes:
        """Return at least ``size`` bytes of the body; fewer only at its end, where :attr:`code` is set, and then none."""
        while self._held < size and self.code is None:
            self._step()
        data = b"".join(self._chunks)
        self._chunks, self._held = [], 0
        return data

    def _step(self) -> None:
        held, head = self._held, self.head_done
        self._multi.perform()
        while self._sockets:  # pycurl duplicates what the callback returns
            self._sockets.pop().close()
        _, good, bad = self._multi.info_read()
        if good:
            self.code = pycurl.E_OK
        elif bad:
            self.code = bad[0][1]
        if self.code is None and held == self._held and head == self.head_done:
            self._multi.select(_WAIT_SECONDS)

    def stop(self) -> None:
        """End the request. The connection stays for the next one if the answer was read to its end."""
        if self._busy:
            self._busy = False
            self._multi.remove_handle(self._easy)

    def close(self) -> None:
        """Close all connections."""
        self.stop()
        self._easy.close()
        self._multi.close()
