"""How long a stored recording plays, by its own account: asked of FFmpeg's demuxers in a process of their own.

The process (:mod:`resources.transfer.demuxer`) is started when it is first needed, kept for the next recordings, and killed where
a file makes it hang. It never sees the storage: it asks for bytes, and gets them from here, up to a bound. Whatever happens to
it, the answer is a number or None, and the run goes on.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

from resources.storage import ArchiveStorage
from resources.transfer import demuxer
from resources.transfer.signature import Container

READ_BYTES_MAX = 64 * 1024 * 1024
"""How much of a recording is read at most. What has its length in its header takes less than a MiB; what has none (bare MP3 and
AAC, WebM from a browser's recorder) is read as a whole, or not told where it is larger."""
SECONDS_MAX = 60.0
"""How long one recording may take, its reading included."""
PROCESSES_MAX = 2

_DEMUXERS = {
    "mp4": "mp4",
    "m4a": "mp4",
    "mov": "mp4",
    "3gp": "mp4",
    "webm": "matroska",
    "mkv": "matroska",
    "wav": "wav",
    "avi": "avi",
    "ogg": "ogg",
    "ogv": "ogg",
    "opus": "ogg",
    "flac": "flac",
    "mp3": "mp3",
    "aac": "aac",
    "amr": "amr",
    "awb": "amr",
    "caf": "caf",
}
"""FFmpeg's demuxer for each extension that :mod:`resources.transfer.signature` gives: the file has no say in it."""
_WITHOUT_LENGTH = frozenset({"mp3", "aac", "amr", "awb"})
"""Where FFmpeg guesses a length from the bit rate."""
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_GOODBYE_SECONDS = 1.0


class _GoneError(Exception):
    """The process died, hangs, or says what it should not."""


class _Demuxer:
    """One process, used by one thread at a time."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 -- our own script, by the Python that runs this
            [sys.executable, "-I", str(Path(demuxer.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            cwd="/",
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 -- it was asked for
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 -- it was asked for
        return self._process.stdout

    def ask(self, job: demuxer.Job, stream: BinaryIO, bound: int, deadline: float) -> float | None:
        """Have the process look at ``stream``; give it at most ``bound`` bytes, and time until ``deadline`` (monotonic).

        Raises:
            _GoneError: it is of no use any more.
            OSError: the stream failed; the process waits for its bytes, so it is of no use either.
        """
        self._send(demuxer.JOB, json.dumps(job).encode())
        while True:
            kind, payload = self._receive(deadline)
            if kind == demuxer.ANSWER:
                return demuxer.SECONDS.unpack(payload)[0] if payload else None
            if kind != demuxer.READ:
                raise _GoneError
            offset, count = demuxer.WANTED.unpack(payload)
            bound -= count
            if bound < 0:
                self._send(demuxer.NO_MORE, b"")
                continue
            stream.seek(offset)
            self._send(demuxer.BYTES, stream.read(count))

    def _send(self, kind: bytes, payload: bytes) -> None:
        message = memoryview(demuxer.FRAME.pack(kind, len(payload)) + payload)
        try:
            while message:
                message = message[self._stdin.write(message) or 0 :]
        except OSError:
            raise _GoneError from None

    def _receive(self, deadline: float) -> tuple[bytes, bytes]:
        kind, length = demuxer.FRAME.unpack(self._exactly(demuxer.FRAME.size, deadline))
        if length > demuxer.WANTED.size:
            raise _GoneError
        return kind, self._exactly(length, deadline)

    def _exactly(self, count: int, deadline: float) -> bytes:
        data = b""
        while len(data) < count:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise _GoneError
            piece = self._stdout.read(count - len(data))
            if not piece:
                raise _GoneError
            data += piece
        return data

    def close(self, *, kindly: bool = True) -> None:
        """End the process: by the end of its input, or at once."""
        self._selector.close()
        with suppress(OSError):
            self._stdin.close()
        if not kindly:
            self._process.kill()
        try:
            self._process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()


class PlayingTimes:
    """Tells how long stored recordings play. Safe to use from several threads; keeps its processes for the next ones."""

    def __init__(self, *, read_bytes_max: int = READ_BYTES_MAX, seconds_max: float = SECONDS_MAX) -> None:
        """Starts nothing yet.

        Args:
            read_bytes_max: how much of one recording is read at most.
            seconds_max: how long that may take.
        """
        self._read_bytes_max = read_bytes_max
        self._seconds_max = seconds_max
        self._free = threading.BoundedSemaphore(PROCESSES_MAX)
        self._lock = threading.Lock()
        self._idle: list[_Demuxer] = []

    def __call__(self, storage: ArchiveStorage, path: str, container: Container) -> float | None:
        """Return how many seconds the recording at ``path`` plays, or None where that cannot be told. Never raises.

        Args:
            storage: has it.
            path: relative to the root.
            container: what it is, by its first bytes.
        """
        # A playing time that cannot be told, for whatever reason, is no reason to fail a recording.
        with self._free, suppress(Exception):
            process = self._take()
            try:
                seconds = self._ask(process, storage, path, container)
            except BaseException:
                process.close(kindly=False)
                raise
            with self._lock:
                self._idle.append(process)
            return seconds
        return None

    def close(self) -> None:
        """End the idle processes. The next question starts one again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.close()

    def _take(self) -> _Demuxer:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Demuxer()

    def _ask(self, process: _Demuxer, storage: ArchiveStorage, path: str, container: Container) -> float | None:
        job: demuxer.Job = {
            "format": _DEMUXERS[container.extension],
            "size": storage.info(path).size,
            "scan": container.extension in _WITHOUT_LENGTH,
        }
        with storage.open(path, block_bytes=demuxer.BLOCK_BYTES) as stream:
            return process.ask(job, stream, self._read_bytes_max, time.monotonic() + self._seconds_max)


playing_times = PlayingTimes()
"""The one of this process: archives come and go, and a demuxer takes a fifth of a second to start."""
atexit.register(playing_times.close)
