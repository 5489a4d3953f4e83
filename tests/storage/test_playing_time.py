"""The playing time of a recording can be told on every storage."""

from __future__ import annotations

import pytest

from resources.storage import ArchiveStorage
from resources.transfer.playing_time import playing_times
from resources.transfer.signature import MP3, MP4
from sandbox.containers import body_of
from sandbox.media import Container, MediaPlan


@pytest.mark.parametrize(("made", "container"), [(Container.MP4, MP4), (Container.MP3, MP3)])
def test_it_is_told_everywhere(storage: ArchiveStorage, made: Container, container: object) -> None:
    """By the header of an MP4, and by counting the frames of an MP3."""
    body = body_of(MediaPlan(made, 900_000, f"storage/{made}"))
    storage.create_from("recordings/a", body.chunks())
    assert playing_times(storage, "recordings/a", container) == pytest.approx(body.seconds, abs=0.1)  # type: ignore[arg-type]
