"""The process that opens recordings with FFmpeg's demuxers, apart from everything else.

Recordings come from outside, and a demuxer is a large parser in C: a hostile file may hang it, fill the memory or crash it. So it
runs in a process of its own, started by :mod:`resources.transfer.playing_time` as a script: without the settings' keys in its
environment, without a file or an address to open, under limits of memory and CPU time. It gets bytes by asking for them over a
pipe, and answers with seconds. Nothing is ever decoded.

Messages are a kind, a payload's length, and the payload. To the parent: ``R`` (wants bytes: offset, count) and ``A`` (the answer:
seconds, or nothing). From the parent: ``J`` (a job: JSON), ``B`` (bytes) and ``X`` (no more: the bound is reached).
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NoReturn, TypedDict

import av
import av.container
import av.logging
from av.error import FFmpegError

FRAME = struct.Struct("<cI")
WANTED = struct.Struct("<QI")
SECONDS = struct.Struct("<d")
READ, ANSWER, JOB, BYTES, NO_MORE = b"R", b"A", b"J", b"B", b"X"

BLOCK_BYTES = 256 * 1024
KEPT_BLOCKS = 8
MEMORY_BYTES = 1024**3
CPU_SECONDS = 30
MAX_PACKETS = 2_000_000

ADTS = "aac"
_ADTS_HEADER_BYTES = 7
_ADTS_SAMPLES = 1024
_ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_TAIL_SECONDS = 3.0
_SLACK_SECONDS = 1.0
_MICROSECONDS = 1_000_000
_OPTIONS = {
    "codec_whitelist": "none",  # no decoder may be opened, not even to look
    "protocol_whitelist": "none",
    "probesize": str(1024 * 1024),
    "analyzeduration": str(5 * _MICROSECONDS),
    "max_streams": "16",
}


class Job(TypedDict):
    """What to look at.

    Attributes:
        format: the demuxer, by FFmpeg's name; none is guessed.
        size: of the file, in bytes.
        scan: True where the header says nothing, or nothing that can be believed: every packet is counted.
    """

    format: str
    size: int
    scan: bool


class BoundReachedError(OSError):
    """The parent gives no more bytes."""


class RemoteFile(io.RawIOBase):
    """A file whose bytes the parent has."""

    def __init__(self, size: int, requests: BinaryIO, replies: BinaryIO) -> None:
        super().__init__()
        self._size = size
        self._position = 0
        self._blocks: dict[int, bytes] = {}
        self._requests = requests
        self._replies = replies
        self.bound_reached = False

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """Every byte can be asked for at any time."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; nothing is asked for."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return some of the next bytes; none at the end.

        Raises:
            BoundReachedError: it gives no more.
        """
        number, start = divmod(self._position, BLOCK_BYTES)
        data = self._block(number)[start : None if size < 0 else start + size]
        self._position += len(data)
        return data

    def _block(self, number: int) -> bytes:
        """Return a block; those that were used last are kept, since demuxers jump to and fro and each question takes time."""
        block = self._blocks.pop(number, None)
        if block is None:
            offset = number * BLOCK_BYTES
            block = self._ask(offset, min(BLOCK_BYTES, self._size - offset))
        self._blocks[number] = block
        if len(self._blocks) > KEPT_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        return block

    def _ask(self, offset: int, count: int) -> bytes:
        if count <= 0:
            return b""
        send(self._requests, READ, WANTED.pack(offset, count))
        kind, data = receive(self._replies)
        if kind == NO_MORE:
            self.bound_reached = True
            raise BoundReachedError
        return data


def send(stream: BinaryIO, kind: bytes, payload: bytes) -> None:
    """Write one message."""
    stream.write(FRAME.pack(kind, len(payload)) + payload)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[bytes, bytes]:
    """Read one message; ends the process when the parent is gone."""
    kind, length = FRAME.unpack(_exactly(stream, FRAME.size))
    return kind, _exactly(stream, length)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise SystemExit
    return data


def playing_seconds(file: RemoteFile, job: Job) -> float | None:
    """Return how long a recording plays, or None where that cannot be told.

    What the header says counts only where the last packets confirm it: a file that was cut off still has the header of the whole.
    Otherwise all packets are looked at.
    """
    if not job["scan"]:
        with _opened(file, job) as media:
            claimed = (media.duration or 0) / _MICROSECONDS
            if claimed > 0:
                with suppress(FFmpegError):
                    media.seek(int(max(0.0, claimed - _TAIL_SECONDS) * _MICROSECONDS) + (media.start_time or 0))
                    seen = _end_of(media, job) - max(0, media.start_time or 0) / _MICROSECONDS
                    if seen >= claimed - _SLACK_SECONDS:
                        return claimed if seen <= claimed + _SLACK_SECONDS else seen
    file.seek(0)
    with _opened(file, job) as media:
        return _span_of(media, job)


def _opened(file: RemoteFile, job: Job) -> av.container.InputContainer:
    return av.open(
        file,
        "r",
        format=job["format"],
        container_options=_OPTIONS,
        io_open=_refuse,
        metadata_errors="replace",
    )


def _refuse(*_: object) -> NoReturn:
    msg = "a recording may not name other files"
    raise PermissionError(msg)


def _packets(media: av.container.InputContainer, job: Job) -> Iterator[tuple[float, float]]:
    """Yield the beginning and the end of each whole packet of sound or pictures, in seconds, until the end or the first fault."""
    streams = [stream for stream in media.streams if stream.type in {"audio", "video"}]
    if not streams:
        return
    begin = 0.0
    units = {stream.index: float(stream.time_base or 0) for stream in streams}
    with suppress(FFmpegError):
        for number, packet in enumerate(media.demux(streams)):
            ticks = packet.pts if packet.pts is not None else packet.dts
            if job["format"] == ADTS:
                end = begin + _adts_seconds(bytes(packet))
                yield begin, end
                begin = end
            elif ticks is not None and not packet.is_corrupt:
                unit = units[packet.stream_index]
                yield ticks * unit, (ticks + (packet.duration or 0)) * unit
            if number >= MAX_PACKETS:
                raise BoundReachedError


def _adts_seconds(frame: bytes) -> float:
    """Return how long a frame of AAC plays, by its own header (ISO/IEC 13818-7, 6.2): FFmpeg leaves that to the decoder."""
    if len(frame) < _ADTS_HEADER_BYTES:
        return 0.0
    rate = frame[2] >> 2 & 0xF
    samples = ((frame[6] & 3) + 1) * _ADTS_SAMPLES
    return samples / _ADTS_RATES[rate] if rate < len(_ADTS_RATES) else 0.0


def _end_of(media: av.container.InputContainer, job: Job) -> float:
    return max((end for _, end in _packets(media, job)), default=0.0)


def _span_of(media: av.container.InputContainer, job: Job) -> float | None:
    first, last = float("inf"), 0.0
    for begin, end in _packets(media, job):
        first, last = min(first, begin), max(last, end)
    # What begins before zero (an encoder's priming) is not played.
    return last - max(0.0, first) if last > max(0.0, first) else None


def answer_of(job: Job, requests: BinaryIO, replies: BinaryIO) -> bytes:
    """Return the payload of the answer to one job; nothing where the time cannot be told."""
    file = RemoteFile(job["size"], requests, replies)
    try:
        seconds = playing_seconds(file, job)
    except Exception:  # noqa: BLE001 -- whatever a file does to the demuxer, the answer is that nobody knows
        return b""
    return b"" if seconds is None or file.bound_reached else SECONDS.pack(seconds)


def _limit() -> None:
    """Have the system end this process before it takes what is not its own."""
    with suppress(ImportError):
        import resource  # noqa: PLC0415 -- not everywhere

        bounds = (
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, 0),
        )
        for what, bound in bounds:
            with suppress(ValueError, OSError):
                resource.setrlimit(what, (bound, bound))


def _limit_cpu() -> None:
    with suppress(ImportError):
        import resource  # noqa: PLC0415 -- not everywhere

        usage = resource.getrusage(resource.RUSAGE_SELF)
        bound = int(usage.ru_utime + usage.ru_stime) + CPU_SECONDS
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (bound, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    """Answer jobs until the parent is gone."""
    requests, replies = sys.stdout.buffer, sys.stdin.buffer
    av.logging.set_level(None)
    _limit()
    while True:
        _, payload = receive(replies)
        _limit_cpu()
        send(requests, ANSWER, answer_of(json.loads(payload), requests, replies))


if __name__ == "__main__":
    main()
