"""Growing a clip into a recording: unique by its seed, as large as planned, valid and playable in its format.

Each container has one legal way to hold more bytes, and that way is used: a top-level ``free`` box in MP4, a Void element in
WebM, more sound in WAV, MP3 and Ogg.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from random import Random

from sandbox import clips
from sandbox.media import Body, Container, MediaPlan
from sandbox.seeds import generator

_NOISE_BYTES = 8 * 1024 * 1024
_PCM_FORMAT = 1
_MP3_PRIVATE_OWNER = b"sandbox.recording-archive"

_EBML_SEGMENT = bytes.fromhex("18538067")
_EBML_VOID = b"\xec"
_EBML_SIZE_BYTES = 8
_EBML_SIZE_MARK = 1 << 56

_OGG_HEADER = struct.Struct("<4sBBqIIIB")
_OGG_FIRST, _OGG_LAST = 2, 4
_OGG_LACING_FULL = 255
_OPUS_PACKET_SAMPLES = 960  # 20 ms at the 48 kHz that Opus counts in
_OPUS_HEADER_PAGES = 2
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ALL_ONES = 0xFFFFFFFF


@lru_cache(maxsize=32)
def body_of(plan: MediaPlan) -> Body:
    """Make the bytes of ``plan``."""
    return _GROWERS[plan.container](plan, generator("media", plan.seed))


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What is true of a recording's bytes."""

    length: int
    sha256: str
    seconds: float


@cache
def facts_of(plan: MediaPlan) -> MediaFacts:
    """Make the bytes of ``plan`` once, to know them."""
    body = body_of(plan)
    return MediaFacts(body.length, body.sha256(), body.seconds)


def _mp4(plan: MediaPlan, rng: Random) -> Body:
    clip = clips.mp4_clip(rng.randrange(clips.takes()))
    content = _seed_line(plan)
    padding = max(0, plan.size - len(clip.data) - 8 - len(content))
    box = struct.pack(">I4s", 8 + len(content) + padding, b"free") + content
    return Body([memoryview(clip.data), memoryview(box), *_noise(rng, padding)], clip.seconds)


def _webm(plan: MediaPlan, rng: Random) -> Body:
    clip = clips.webm_clip(rng.randrange(clips.takes()))
    at = clip.data.index(_EBML_SEGMENT) + len(_EBML_SEGMENT)
    content = _seed_line(plan)
    void_head = 1 + _EBML_SIZE_BYTES
    padding = max(0, plan.size - len(clip.data) - void_head - len(content))
    inside = int.from_bytes(clip.data[at : at + _EBML_SIZE_BYTES]) - _EBML_SIZE_MARK
    head = clip.data[:at] + _ebml_size(inside + void_head + len(content) + padding)
    void = _EBML_VOID + _ebml_size(len(content) + padding) + content
    rest = memoryview(clip.data)[at + _EBML_SIZE_BYTES :]
    return Body([memoryview(head), rest, memoryview(void), *_noise(rng, padding)], clip.seconds)


def _wav(plan: MediaPlan, rng: Random) -> Body:
    phrase = clips.BYTES_PER_SECOND * clips.PHRASE_SECONDS
    voices = [memoryview(clips.speech(voice)) for voice in rng.sample(range(clips.VOICES), 2)]
    seed = _even(_seed_line(plan))
    info = b"INFO" + struct.pack("<4sI", b"ICMT", len(seed)) + seed
    listed = struct.pack("<4sI", b"LIST", len(info)) + info
    count = max(1, -(-(plan.size - len(listed) - 44) // phrase))
    sound: list[memoryview] = []
    for number in range(count):
        start = rng.randrange(clips.VOICE_SECONDS) * clips.BYTES_PER_SECOND
        sound.append(voices[number // 4 % 2][start : start + phrase])
    rate, block, bits = clips.SAMPLE_RATE, 2, 16
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM_FORMAT, 1, rate, rate * block, block, bits)
    data = struct.pack("<4sI", b"data", count * phrase)
    riff = struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(listed) + len(data) + count * phrase, b"WAVE")
    return Body([memoryview(riff + form + listed + data), *sound], float(count * clips.PHRASE_SECONDS))


def _mp3(plan: MediaPlan, rng: Random) -> Body:
    private = _MP3_PRIVATE_OWNER + b"\0" + _seed_line(plan)
    frame = struct.pack(">4sIH", b"PRIV", len(private), 0) + private
    tag = b"ID3\x03\x00\x00" + _syncsafe(len(frame)) + frame
    frames = [clips.mp3_clip(voice).data for voice in range(clips.VOICES)]
    segments = [memoryview(tag)]
    length = len(tag)
    while length < plan.size or len(segments) == 1:
        segments.append(memoryview(rng.choice(frames)))
        length += len(segments[-1])
    return Body(segments, (length - len(tag)) * 8 / clips.MP3_BIT_RATE)


def _ogg(plan: MediaPlan, rng: Random) -> Body:
    serial = rng.getrandbits(32)
    voices = [list(_ogg_pages(clips.ogg_clip(voice).data)) for voice in range(clips.VOICES)]
    head = voices[0][0][1]
    comment = b"seed=" + _seed_line(plan)
    tags = b"OpusTags" + struct.pack("<I7sII", 7, b"sandbox", 1, len(comment)) + comment
    pages = [
        _ogg_page(head, _lacing(head), flags=_OGG_FIRST, serial=serial, number=0),
        _ogg_page(tags, _lacing(tags), serial=serial, number=1),
    ]
    length, samples, skip = sum(map(len, pages)), 0, int.from_bytes(head[10:12], "little")
    while length < plan.size or samples == 0:
        for lacing, payload in rng.choice(voices)[_OPUS_HEADER_PAGES:]:
            samples += _OPUS_PACKET_SAMPLES * sum(size < _OGG_LACING_FULL for size in lacing)
            last = _OGG_LAST if length + len(payload) >= plan.size else 0
            pages.append(_ogg_page(payload, lacing, flags=last, granule=samples, serial=serial, number=len(pages)))
            length += len(pages[-1])
            if last:
                break
    return Body([memoryview(b"".join(pages))], (samples - skip) / 48_000)


def _ogg_pages(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each page of ``data`` as its lacing values and its payload."""
    at = 0
    while at < len(data):
        count = data[at + _OGG_HEADER.size - 1]
        start = at + _OGG_HEADER.size
        lacing = data[start : start + count]
        at = start + count + sum(lacing)
        yield lacing, data[start + count : at]


def _ogg_page(payload: bytes, lacing: bytes, *, flags: int = 0, granule: int = 0, serial: int, number: int) -> bytes:
    header = _OGG_HEADER.pack(b"OggS", 0, flags, granule, serial, number, 0, len(lacing))
    page = header + lacing + payload
    return page[:22] + struct.pack("<I", _ogg_checksum(page)) + page[26:]


def _lacing(packet: bytes) -> bytes:
    full, rest = divmod(len(packet), _OGG_LACING_FULL)
    return bytes([_OGG_LACING_FULL] * full + [rest])


def _ogg_checksum(page: bytes) -> int:
    """Return Ogg's CRC-32, which is zlib's with the bits of each byte the other way round and no inversions."""
    mirrored = zlib.crc32(page.translate(_BITS_REVERSED), _ALL_ONES) ^ _ALL_ONES
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_BITS_REVERSED), "big")


def _seed_line(plan: MediaPlan) -> bytes:
    return f"sandbox recording {plan.seed}".encode()


def _even(text: bytes) -> bytes:
    return text + b"\0" * (len(text) % 2 or 2)


def _ebml_size(value: int) -> bytes:
    return (value + _EBML_SIZE_MARK).to_bytes(_EBML_SIZE_BYTES)


def _syncsafe(value: int) -> bytes:
    return bytes((value >> shift) & 0x7F for shift in (21, 14, 7, 0))


@cache
def _noise_bank() -> bytes:
    return generator("noise").randbytes(_NOISE_BYTES)


def _noise(rng: Random, length: int) -> Iterator[memoryview]:
    bank = memoryview(_noise_bank())
    while length > 0:
        view = bank[rng.randrange(_NOISE_BYTES) :][:length]
        length -= len(view)
        yield view


_GROWERS: dict[Container, Callable[[MediaPlan, Random], Body]] = {
    Container.MP4: _mp4,
    Container.WEBM: _webm,
    Container.WAV: _wav,
    Container.MP3: _mp3,
    Container.OGG: _ogg,
}
