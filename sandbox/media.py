"""A recording's bytes: planned cheaply, made when somebody asks, never held twice.

A body is a list of segments. Most of them are slices of a few shared blocks (a clip, a bank of noise), so a world of many
gigabytes costs some megabytes of memory, and serving it is copying.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

CHUNK_BYTES = 512 * 1024


class Container(StrEnum):
    """The file formats that the sandbox makes; the value is the file extension."""

    MP4 = "mp4"
    WEBM = "webm"
    WAV = "wav"
    MP3 = "mp3"
    OGG = "ogg"

    @property
    def content_type(self) -> str:
        """The media type that the media host answers with."""
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    Container.MP4: "video/mp4",
    Container.WEBM: "video/webm",
    Container.WAV: "audio/wav",
    Container.MP3: "audio/mpeg",
    Container.OGG: "audio/ogg",
}
_BYTES_PER_SECOND = {Container.WAV: 16_000, Container.MP3: 4_000, Container.OGG: 3_800}


@dataclass(frozen=True, slots=True)
class MediaPlan:
    """What a recording will be, before a byte of it exists.

    Attributes:
        container: the file format.
        size: its least length in bytes; the made file is at most a few per cent longer, or as long as its clip.
        seed: names the content: the same plan is always the same bytes.
    """

    container: Container
    size: int
    seed: str

    @property
    def nominal_seconds(self) -> float:
        """How long it plays, within some seconds, for containers that hold sound; a video is shorter than its run."""
        return max(1.0, self.size / _BYTES_PER_SECOND.get(self.container, self.size))

    @property
    def etag(self) -> str:
        """A strong validator, known without making the bytes because the plan decides them."""
        return '"' + hashlib.sha256(f"{self.seed}/{self.container}/{self.size}".encode()).hexdigest()[:32] + '"'


class Body:
    """The bytes of one recording, as segments."""

    def __init__(self, segments: list[memoryview], seconds: float) -> None:
        self._segments = segments
        self._ends = list(accumulate(len(segment) for segment in segments))
        self.seconds = seconds
        self.length = self._ends[-1]

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to before ``stop``, in pieces of ``CHUNK_BYTES``."""
        stop = self.length if stop is None else min(stop, self.length)
        while start < stop:
            piece_stop = min(start + CHUNK_BYTES, stop)
            yield b"".join(self._views(start, piece_stop))
            start = piece_stop

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the whole."""
        digest = hashlib.sha256()
        for segment in self._segments:
            digest.update(segment)
        return digest.hexdigest()

    def _views(self, start: int, stop: int) -> Iterator[memoryview]:
        index = bisect_right(self._ends, start)
        while start < stop:
            segment = self._segments[index]
            offset = start - (self._ends[index] - len(segment))
            view = segment[offset : offset + stop - start]
            yield view
            start += len(view)
            index += 1
