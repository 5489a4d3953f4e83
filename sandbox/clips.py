"""Small real clips, encoded once in a process: what every recording of the sandbox is grown from.

A clip of each container is enough, because :mod:`sandbox.containers` makes each recording unique and as large as asked. The
encoders run on one thread and in bit-exact mode, so one machine always makes the same bytes.
"""

from __future__ import annotations

import io
import math
from array import array
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import cast

import av

from sandbox.seeds import generator

SAMPLE_RATE = 8_000  # Hz, mono, 16 bit: what telephones carry
BYTES_PER_SECOND = SAMPLE_RATE * 2
PHRASE_SECONDS = 1
VOICES = 4
VOICE_SECONDS = 6
MP3_BIT_RATE = 32_000
OPUS_BIT_RATE = 32_000

_WIDTH, _HEIGHT = 320, 180
_FRAMES_PER_SECOND = 5
_TITLE_ROWS = 20
_VIDEO_SECONDS = (8, 13)
_BIT_EXACT = {"fflags": "+bitexact"}
_SINE = [math.sin(2 * math.pi * step / 1024) for step in range(1024)]


@dataclass(frozen=True, slots=True)
class Clip:
    """An encoded file and how long it plays."""

    data: bytes
    seconds: float


@cache
def speech(voice: int) -> bytes:
    """Return ``VOICE_SECONDS`` of 16-bit PCM that rises and falls like somebody talking."""
    rng = generator("speech", voice)
    pitch = 95 + 40 * voice
    samples = array("h")
    table, mask = _SINE, len(_SINE) - 1
    for _ in range(VOICE_SECONDS * 4):
        length = SAMPLE_RATE // 4
        loud = rng.choice((0, 5200, 7400, 9000))
        step = pitch * rng.uniform(0.85, 1.25) * len(table) / SAMPLE_RATE
        formant = step * rng.choice((3, 5, 7))
        for index in range(length):
            envelope = loud * index * (length - index) * 4 // (length * length)
            tone = table[int(index * step) & mask] + 0.5 * table[int(index * formant) & mask]
            samples.append(int(envelope * tone))
    return samples.tobytes()


@cache
def mp3_clip(voice: int) -> Clip:
    """Return ``voice`` as constant-rate MP3 frames and nothing else: such clips can be put one after another."""
    options = {"write_xing": "0", "id3v2_version": "0"} | _BIT_EXACT
    return Clip(
        _encode_audio("mp3", "libmp3lame", layout="s16p", bit_rate=MP3_BIT_RATE, pcm=speech(voice), options=options),
        VOICE_SECONDS,
    )


@cache
def ogg_clip(voice: int) -> Clip:
    """Return ``voice`` as Ogg Opus."""
    return Clip(
        _encode_audio("ogg", "libopus", layout="s16", bit_rate=OPUS_BIT_RATE, pcm=speech(voice), options=_BIT_EXACT),
        VOICE_SECONDS,
    )


@cache
def mp4_clip(take: int) -> Clip:
    """Return take 0 or 1 of a browser video as H.264 in MP4."""
    return _encode_video("mp4", "libx264", {"preset": "ultrafast", "threads": "1"}, {}, take)


@cache
def webm_clip(take: int) -> Clip:
    """Return take 0 or 1 of a browser video as VP8 in WebM."""
    return _encode_video("webm", "libvpx", {"deadline": "realtime", "cpu-used": "8", "threads": "1"}, {}, take)


def takes() -> int:
    """Return how many different videos there are of each container."""
    return len(_VIDEO_SECONDS)


def _encode_audio(container: str, codec: str, *, layout: str, bit_rate: int, pcm: bytes, options: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options) as output:
        stream = cast("av.AudioStream", output.add_stream(codec, rate=SAMPLE_RATE))
        stream.bit_rate = bit_rate
        stream.codec_context.format = layout
        stream.codec_context.layout = "mono"
        stream.codec_context.open()
        frame_size = stream.codec_context.frame_size
        for start in range(0, len(pcm) // 2, frame_size):
            part = pcm[start * 2 : (start + frame_size) * 2]
            frame = av.AudioFrame(format=layout, layout="mono", samples=len(part) // 2)
            plane = frame.planes[0]
            plane.update(part.ljust(plane.buffer_size, b"\0"))
            frame.sample_rate = SAMPLE_RATE
            frame.time_base = Fraction(1, SAMPLE_RATE)
            frame.pts = start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()


def _encode_video(container: str, codec: str, codec_options: dict[str, str], options: dict[str, str], take: int) -> Clip:
    seconds = _VIDEO_SECONDS[take]
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options | _BIT_EXACT) as output:
        stream = cast("av.VideoStream", output.add_stream(codec, rate=_FRAMES_PER_SECOND, options=codec_options))
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(seconds * _FRAMES_PER_SECOND):
            frame = av.VideoFrame(_WIDTH, _HEIGHT, "yuv420p")
            _draw(frame, number, take)
            frame.pts = number
            frame.time_base = Fraction(1, _FRAMES_PER_SECOND)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return Clip(target.getvalue(), float(seconds))


def _draw(frame: av.VideoFrame, number: int, take: int) -> None:
    """Draw a page that scrolls under a title bar: enough of a browser to be recognised."""
    luma, *chroma = frame.planes
    title = bytes([60]) * luma.line_size
    ink, paper = bytes([90 + 30 * take]), bytes([225])
    rows: list[bytes] = []
    for row in range(luma.height):
        line = (row + 2 * number) // 6
        width = 40 + (line * 53) % 230 if line % 2 and row > _TITLE_ROWS else 0
        rows.append(title if row <= _TITLE_ROWS else ink * width + paper * (luma.line_size - width))
    luma.update(b"".join(rows))
    for plane, tint in zip(chroma, (118 + 14 * take, 128), strict=True):
        plane.update(bytes([tint]) * plane.buffer_size)
