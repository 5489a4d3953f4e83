"""Media that players accept."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import cast

import av
import pytest

from sandbox.containers import body_of, facts_of
from sandbox.media import Container, MediaPlan

MAGIC = {
    Container.MP4: (4, b"ftyp"),
    Container.WEBM: (0, bytes.fromhex("1a45dfa3")),
    Container.WAV: (8, b"WAVE"),
    Container.MP3: (0, b"ID3"),
    Container.OGG: (0, b"OggS"),
}


def _bytes(plan: MediaPlan) -> bytes:
    return b"".join(body_of(plan).chunks())


@pytest.mark.parametrize("container", Container)
@pytest.mark.parametrize("size", [8_192, 400_000])
def test_every_frame_decodes(container: Container, size: int) -> None:
    """A grown file has its container's signature, decodes to the end, and lasts as long as it says."""
    plan = MediaPlan(container, size, "seed")
    data, facts = _bytes(plan), facts_of(plan)
    offset, magic = MAGIC[container]
    assert data[offset : offset + len(magic)] == magic
    assert facts.length == len(data) >= size
    with av.open(io.BytesIO(data), "r") as file:
        assert file.duration is not None
        assert file.duration / 1_000_000 == pytest.approx(facts.seconds, abs=0.1)
        frames = cast("Iterator[av.VideoFrame]", file.decode(file.streams[0]))
        last = max(frame.time for frame in frames)
    assert last == pytest.approx(facts.seconds, abs=0.4)


@pytest.mark.parametrize("container", Container)
def test_a_seed_is_a_content(container: Container) -> None:
    """The same plan is the same bytes, another seed is other bytes and another ETag."""
    one, other = MediaPlan(container, 20_000, "one"), MediaPlan(container, 20_000, "other")
    assert _bytes(one) == _bytes(one)
    assert facts_of(one).sha256 != facts_of(other).sha256
    assert one.etag != other.etag


def test_parts_of_a_body_are_slices_of_it() -> None:
    """Any range of a body is the same bytes as that slice of the whole."""
    plan = MediaPlan(Container.WAV, 1_200_000, "seed")
    whole = _bytes(plan)
    for start, stop in ((0, 1), (43, 16_100), (500_000, 1_100_000), (len(whole) - 1, len(whole))):
        assert b"".join(body_of(plan).chunks(start, stop)) == whole[start:stop]
