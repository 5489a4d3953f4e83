"""What a media host may send instead of a recording: refused with a reason, in bounded memory, and its neighbours come in."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from assets.recordings.lifecycle import Outcome
from tests.hostile.internet import DAY, Internet, archived
from tests.hostile.memory import run_limited
from tests.transfer.conftest import LIMITS, MP4_HEAD, media
from tests.transfer.server import MediaServer, Request, Script, answer, running_server

PAGE = b"<!DOCTYPE html><html><head><title>x</title></head><body onload=alert(1)>" + b"x" * 500
SVG = (
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>' + b" " * 500
)


def raw(data: bytes, *, again: bytes = b"") -> Script:
    """Return a script that sends bytes, and others for as long as somebody reads them."""

    def script(connection: socket.socket, _: Request) -> None:
        with suppress(OSError):
            connection.sendall(data)
            while again:
                connection.sendall(again)
            connection.shutdown(socket.SHUT_WR)

    return script


def typed(body: bytes, kind: str) -> Script:
    """Return a script that says that a body is something else."""
    return answer(body, headers={"Content-Type": kind, "Content-Disposition": 'attachment; filename="../../x.mp4"'})


OK = b"HTTP/1.1 200 OK\r\n"
MIB = bytes(1024 * 1024)
BODIES: dict[str, Callable[[], Script]] = {
    "HTML as video": lambda: typed(PAGE, "video/mp4"),
    "HTML behind a byte order mark": lambda: typed(b"\xef\xbb\xbf" + PAGE, "audio/mpeg"),
    "HTML behind blanks": lambda: typed(b" \n\t" * 200 + PAGE, "video/mp4"),
    "HTML in UTF-16": lambda: typed(PAGE.decode().encode("utf-16"), "video/mp4"),
    "HTML behind NULs": lambda: typed(bytes(64) + PAGE, "video/mp4"),
    "SVG": lambda: typed(SVG, "image/svg+xml"),
    "SVG as video": lambda: typed(SVG, "video/mp4"),
    "JSON": lambda: typed(b'{"error":"x"}' * 100, "audio/wav"),
    "a script": lambda: typed(b"#!/bin/sh\nrm -rf /\n" * 50, "audio/ogg"),
    "a program": lambda: typed(b"\x7fELF" + bytes(500), "video/webm"),
    "a Windows program": lambda: typed(b"MZ" + bytes(500), "video/webm"),
    "an archive": lambda: typed(b"PK\x03\x04" + bytes(500), "video/mp4"),
    "a PDF": lambda: typed(b"%PDF-1.7" + bytes(500), "video/mp4"),
    "a picture": lambda: typed(b"\x89PNG\r\n\x1a\n" + bytes(500), "video/mp4"),
    "a picture in a container": lambda: typed(b"\x00\x00\x00\x18ftypheic" + bytes(500), "video/mp4"),
    "RIFF that is no sound": lambda: typed(b"RIFF\xff\xff\xff\xffWEBP" + bytes(500), "audio/wav"),
    "a playlist": lambda: typed(b"#EXTM3U\nhttp://127.0.0.2/\n" * 50, "audio/mpeg"),
    "nothing": lambda: answer(b""),
    "a signature alone": lambda: answer(MP4_HEAD[:12]),
    "gzip": lambda: answer(gzip.compress(media(10_000)), headers={"Content-Encoding": "gzip"}),
    "a gzip bomb": lambda: answer(gzip.compress(bytes(50_000_000), 1), headers={"Content-Encoding": "gzip"}),
    "a deflate bomb": lambda: answer(zlib.compress(bytes(50_000_000), 1), headers={"Content-Encoding": "deflate"}),
    "a brotli bomb": lambda: answer(b"\xcf\xff\xff\x7f\xf8" * 1000, headers={"Content-Encoding": "br"}),
    "two layers": lambda: answer(gzip.compress(gzip.compress(media(1000))), headers={"Content-Encoding": "gzip, gzip"}),
    "a gzip transfer coding": lambda: raw(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "an endless body with a length": lambda: raw(OK + b"Content-Length: 9999999999\r\n\r\n" + MP4_HEAD, again=MIB),
    "an endless body of chunks": lambda: raw(
        OK + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + MP4_HEAD[:64] + b"\r\n", again=b"100000\r\n" + MIB + b"\r\n"
    ),
    "an endless body without a length": lambda: raw(OK + b"\r\n" + MP4_HEAD, again=MIB),
    "an endless header": lambda: raw(OK + b"X: ", again=b"y" * 100_000),
    "endless headers": lambda: raw(OK, again=b"X-Y: z\r\n" * 1000),
    "endless hints": lambda: raw(b"", again=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
    "a length twice": lambda: raw(OK + b"Content-Length: 10\r\nContent-Length: 2000\r\n\r\n" + media(2000)),
    "a negative length": lambda: raw(OK + b"Content-Length: -1\r\n\r\n" + media(2000)),
    "a length beyond all numbers": lambda: raw(OK + b"Content-Length: 99999999999999999999999\r\n\r\n" + media(2000)),
    "a length of other digits": lambda: raw(OK + "Content-Length: ²\r\n\r\n".encode("latin-1") + media(2000)),
    "a chunk beyond all numbers": lambda: raw(OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n" + media(2000)),
    "a range that nobody asked for": lambda: answer(media(2000), status=206, headers={"Content-Range": "bytes 5-2004/9999"}),
    "no content": lambda: answer(b"", status=204, length=None),
    "another protocol": lambda: answer(b"", status=101, headers={"Upgrade": "h2c", "Connection": "Upgrade"}, length=None),
}  # fmt: skip
KEPT: dict[str, tuple[bytes, str]] = {
    "MP3 and HTML": (b"ID3\x04\x00\x00\x00\x00\x00\x00" + PAGE, "main.mp3"),
    "WAVE and a script": (b"RIFF\xff\x00\x00\x00WAVEfmt " + b"<script>alert(1)</script>" * 30, "main.wav"),
    "MP4 and a ZIP": (MP4_HEAD + b"PK\x03\x04" + bytes(500), "main.mp4"),
}
"""Bodies that begin as media do. What follows cannot be told from media without playing it: kept as what it begins as."""


@pytest.fixture
def outside_scripts() -> dict[str, Script]:
    """Return the scripts of all bodies by path."""
    scripts = {f"/b{number}": make() for number, make in enumerate(BODIES.values())}
    scripts |= {f"/k{number}": typed(body, "text/html") for number, (body, _) in enumerate(KEPT.values())}
    return scripts | {f"/good{number}": answer(media(5000)) for number in range(5)}


def test_no_body_that_is_no_recording_is_kept(
    tmp_path: Path, outside_scripts: dict[str, Script], capfd: pytest.CaptureFixture[str]
) -> None:
    """All hostile bodies in one run: none is published, each has its reason, and everything good between them is archived."""
    with running_server() as host:
        host.scripts.update(outside_scripts)
        links = {path.removeprefix("/"): [host.url(path)] for path in outside_scripts}
        _, events = archived(tmp_path, links, Internet())
    for number, what in enumerate(BODIES):
        event = events[f"b{number}"]
        assert event.outcome in {Outcome.NOT_MEDIA, Outcome.TRANSIENT, Outcome.UNEXPECTED, Outcome.REFUSED}, (what, event)
        assert event.detail, what
        assert len(event.detail) < 400, what
        assert event.detail.isprintable(), what
    published = sorted(
        path.relative_to(tmp_path).as_posix() for path in (tmp_path / "recordings").rglob("main.*") if path.suffix != ".json"
    )
    folder = f"recordings/provider=asteroid/date={DAY}"
    assert published == sorted(
        [f"{folder}/good{number}/main.mp4" for number in range(5)]
        + [f"{folder}/k{number}/{name}" for number, (_, name) in enumerate(KEPT.values())]
    ), "the name and the type come from the bytes, never from the host"
    assert not list((tmp_path / ".tmp").glob("*-*")), "nothing unfinished is left"
    assert "Traceback" not in capfd.readouterr().err


def test_a_body_without_an_end_needs_no_memory(tmp_path: Path) -> None:
    """Half a gigabyte that never ends passes through a process that may hold 150 MiB more than its imports."""
    with running_server() as host:
        host.scripts["/x"] = raw(
            OK + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + MP4_HEAD[:64] + b"\r\n", again=b"100000\r\n" + MIB + b"\r\n"
        )
        said = run_limited(_FETCH.format(url=host.url("/x"), root=str(tmp_path)), 150)
    assert "not_media" in said
    assert "MEDIA_MAX_BYTES" in said
    assert not (tmp_path / "recordings").exists()


_FETCH = """
from dataclasses import replace
from tests.hostile import internet
from tests.hostile.internet import AddressPolicy, archived, told
internet.LIMITS = replace(internet.LIMITS, max_bytes=500_000_000, deadline_seconds=200.0)
limit()
_, events = archived({root!r}, {{"x": [{url!r}]}}, AddressPolicy(allow_private=True))
print(told(events["x"]))
"""


def test_the_limits_are_those_of_the_other_tests() -> None:
    """The endless bodies end at 64 MiB, and a stall after a second."""
    assert (LIMITS.max_bytes, LIMITS.stall_seconds) == (64 * 1024 * 1024, 1)


def test_a_host_is_asked_plainly(tmp_path: Path) -> None:
    """No packing is asked for, so whatever is packed was not asked for."""
    with running_server() as host:
        _serve_good(host)
        archived(tmp_path, {"x": [host.url("/good")]}, Internet())
        assert {request.headers["accept-encoding"] for request in host.requests} == {"identity"}


def _serve_good(host: MediaServer) -> None:
    host.scripts["/good"] = answer(media(1000))
