"""Real media of the awkward kinds, made here: without a length, in fragments, cut off."""

from __future__ import annotations

import io
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

import av

from sandbox import clips

RATE = 10
SECONDS = 20


class _Pipe(io.RawIOBase):
    """Something to write to that cannot be gone back in, as a browser's recorder writes."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def writable(self) -> bool:
        """It takes bytes."""
        return True

    def write(self, data: object) -> int:
        """Take some."""
        self.data += bytes(cast("bytes", data))
        return len(bytes(cast("bytes", data)))


@cache
def video(container: str, codec: str = "libvpx", *, piped: bool = False, **options: str) -> bytes:
    """Return a video of :data:`SECONDS` seconds, with a key frame each second.

    Args:
        container: FFmpeg's name of the muxer.
        codec: FFmpeg's name of the encoder.
        piped: write it as a stream, so that no header can be filled in at the end.
        options: of the muxer.
    """
    with tempfile.NamedTemporaryFile(suffix=f".{container}") as file:
        target = _Pipe()
        _write(cast("BinaryIO", target) if piped else file.name, container, codec, options)
        return bytes(target.data) if piped else Path(file.name).read_bytes()


def _write(target: BinaryIO | str, container: str, codec: str, options: dict[str, str]) -> None:
    speed = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx" else {"preset": "ultrafast"}
    with av.open(target, "w", format=container, options={"fflags": "+bitexact", **options}) as output:
        stream = cast("av.VideoStream", output.add_stream(codec, rate=RATE, options=speed | {"g": str(RATE)}))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(SECONDS * RATE):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([(number * 7) % 255]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@cache
def sound(container: str, codec: str, layout: str) -> bytes:
    """Return :data:`SECONDS` seconds of silence.

    Args:
        container: FFmpeg's name of the muxer.
        codec: of the encoder.
        layout: the sample format that it takes.
    """
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=container, options={"fflags": "+bitexact"}) as output:
            stream = cast("av.AudioStream", output.add_stream(codec, rate=clips.SAMPLE_RATE))
            stream.codec_context.format, stream.codec_context.layout = layout, "mono"
            stream.codec_context.open()
            step = stream.codec_context.frame_size or 1000
            for start in range(0, SECONDS * clips.SAMPLE_RATE, step):
                frame = av.AudioFrame(format=layout, layout="mono", samples=step)
                for plane in frame.planes:
                    plane.update(bytes(plane.buffer_size))
                frame.sample_rate, frame.pts, frame.time_base = clips.SAMPLE_RATE, start, Fraction(1, clips.SAMPLE_RATE)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return Path(file.name).read_bytes()


def amr(seconds: int) -> bytes:
    """Return a narrow-band AMR file of silence: frames of 20 ms, 12 bytes and a header each (RFC 4867, 5.3)."""
    return b"#!AMR\n" + (b"\x04" + bytes(12)) * (50 * seconds)


def bare_mp3(times: int = 2) -> bytes:
    """Return frames of MP3 and nothing else: no tag, no header, no length."""
    return clips.mp3_clip(0).data * times


def bare_mp3_seconds(times: int = 2) -> float:
    """Return how long :func:`bare_mp3` plays."""
    return len(bare_mp3(times)) * 8 / clips.MP3_BIT_RATE
