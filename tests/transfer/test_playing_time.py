"""How long a recording plays is read from the file itself; whatever the file does, the answer is a number or None."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import pytest
from av.format import ContainerFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.storage import ArchiveStorage, open_storage
from resources.transfer import demuxer
from resources.transfer.playing_time import _DEMUXERS, PlayingTimes
from resources.transfer.signature import CONTAINERS, MP3, MP4, SIGNATURE_BYTES, Container, detect
from sandbox import clips
from sandbox.containers import body_of
from sandbox.media import Container as Made
from sandbox.media import MediaPlan
from tests.transfer.films import SECONDS, amr, bare_mp3, bare_mp3_seconds, sound, video
from tests.transfer.test_signature import _MEDIA as HEADS

NEAR = 0.25
PATH = "recordings/a"


@pytest.fixture(scope="module")
def times() -> Iterator[PlayingTimes]:
    """The processes of this module."""
    made = PlayingTimes()
    yield made
    made.close()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> ArchiveStorage:
    """An archive on local disk."""
    return open_storage(str(tmp_path_factory.mktemp("playing")))


def asked(times: PlayingTimes, storage: ArchiveStorage, data: bytes, container: Container | None = None) -> float | None:
    """Store ``data`` and ask how long it plays."""
    storage.write(PATH, data)
    found = container or detect(data[:SIGNATURE_BYTES])
    assert found is not None
    return times(storage, PATH, found)


@pytest.mark.parametrize("container", list(Made))
@pytest.mark.parametrize("size", [20_000, 700_000])
def test_what_the_sandbox_makes(times: PlayingTimes, storage: ArchiveStorage, container: Made, size: int) -> None:
    """Each container of the sandbox plays for as long as the sandbox says, whatever its size."""
    body = body_of(MediaPlan(container, size, f"playing/{container}/{size}"))
    assert asked(times, storage, b"".join(body.chunks())) == pytest.approx(body.seconds, abs=NEAR)


def test_a_webm_without_a_length(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """A browser's recorder writes no duration and no index: the packets are counted."""
    data = video("webm", piped=True, live="1")
    assert b"\x44\x89\x88" not in data[:4096]  # the element of the duration
    assert asked(times, storage, data) == pytest.approx(SECONDS, abs=NEAR)


def test_an_mp3_without_anything_but_frames(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """What FFmpeg would guess from the first bit rate is not believed: the frames are counted."""
    assert asked(times, storage, bare_mp3(3)) == pytest.approx(bare_mp3_seconds(3), abs=NEAR)
    mixed = bare_mp3(1) + _mp3_at_twice_the_rate()
    assert asked(times, storage, mixed) == pytest.approx(bare_mp3_seconds(2), abs=NEAR)


def test_an_mp4_in_fragments(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """A header of zero length is no length: the fragments are counted."""
    data = video("mp4", "libx264", piped=True, movflags="frag_keyframe+empty_moov")
    assert asked(times, storage, data) == pytest.approx(SECONDS, abs=NEAR)


def test_an_mp4_that_was_cut_off_behind_its_header(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """The header still tells the whole length; what is there plays for half of it, and that is the answer."""
    data = video("mp4", "libx264", movflags="faststart")
    assert asked(times, storage, data) == pytest.approx(SECONDS, abs=NEAR)
    cut = data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2]
    assert asked(times, storage, cut) == pytest.approx(SECONDS / 2, abs=4)


def test_a_webm_that_was_cut_off(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """The same for WebM, whose index at the end is gone."""
    data = video("webm")
    assert asked(times, storage, data) == pytest.approx(SECONDS, abs=NEAR)
    assert asked(times, storage, data[: len(data) // 2]) == pytest.approx(SECONDS / 2, abs=4)


def test_an_mp4_whose_header_is_gone(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """Without the box that says what the rest is, nobody knows."""
    data = video("mp4", "libx264")
    assert asked(times, storage, data[: data.index(b"moov")]) is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(HEADS)),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
    st.integers(0, 60_000),
    st.integers(0, 600),
)
def test_garbage_behind_a_valid_signature(
    times: PlayingTimes, storage: ArchiveStorage, kind: str, number: int, rng: object, size: int, kept: int
) -> None:
    """Whatever follows a container's first bytes, the answer is None or a finite time, and the processes live on."""
    heads = HEADS[kind]
    data = heads[number % len(heads)][: 24 + kept] + rng.randbytes(size)  # type: ignore[attr-defined]
    container = next(known for known in CONTAINERS if known.extension == kind)
    seconds = asked(times, storage, data, container)
    assert seconds is None or 0 < seconds < 10**12
    assert times(storage, PATH, container) == seconds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["mp4", "webm"]), st.data())
def test_a_broken_film_never_plays_longer_than_it_could(
    times: PlayingTimes, storage: ArchiveStorage, kind: str, data: st.DataObject
) -> None:
    """A film of which some bytes are others gives None or a finite time."""
    film = bytearray(video("mp4", "libx264", movflags="faststart") if kind == "mp4" else video("webm"))
    for _ in range(data.draw(st.integers(1, 20))):
        film[data.draw(st.integers(40, len(film) - 1))] = data.draw(st.integers(0, 255))
    container = detect(bytes(film[:SIGNATURE_BYTES]))
    if container is not None:
        seconds = asked(times, storage, bytes(film), container)
        assert seconds is None or 0 < seconds < 10**12


@pytest.mark.parametrize(
    ("container", "codec", "extension"), [("matroska", "libvpx", "mkv"), ("mov", "libx264", "mov"), ("avi", "libx264", "avi")]
)
def test_other_films(times: PlayingTimes, storage: ArchiveStorage, container: str, codec: str, extension: str) -> None:
    """The containers of video that the sandbox does not make."""
    data = video(container, codec)
    found = detect(data[:SIGNATURE_BYTES])
    assert found is not None
    assert found.extension == extension
    assert asked(times, storage, data) == pytest.approx(SECONDS, abs=NEAR)


@pytest.mark.parametrize(
    ("container", "codec", "layout", "extension"),
    [
        ("flac", "flac", "s16", "flac"),
        ("adts", "aac", "fltp", "aac"),
        ("ipod", "aac", "fltp", "m4a"),
        ("caf", "pcm_s16be", "s16", "caf"),
        ("ogg", "flac", "s16", "ogg"),
        ("wav", "pcm_mulaw", "s16", "wav"),
    ],
)
def test_other_sounds(
    times: PlayingTimes, storage: ArchiveStorage, container: str, codec: str, layout: str, extension: str
) -> None:
    """The containers and codecs of sound that the sandbox does not make; encoders add a little silence."""
    data = sound(container, codec, layout)
    found = detect(data[:SIGNATURE_BYTES])
    assert found is not None
    assert found.extension == extension
    assert asked(times, storage, data) == pytest.approx(SECONDS, abs=NEAR)


def test_telephones_own_sound(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """AMR is frames and nothing else, too."""
    assert asked(times, storage, amr(7)) == pytest.approx(7, abs=NEAR)


def test_every_known_container_has_a_demuxer() -> None:
    """A container without one would never be told, and nobody would notice."""
    assert _DEMUXERS.keys() == {container.extension for container in CONTAINERS}
    for name in _DEMUXERS.values():
        assert ContainerFormat(name, "r").is_input


class _Counting:
    """A storage that counts what is read of it."""

    def __init__(self, real: ArchiveStorage) -> None:
        self._real = real
        self.read_bytes = 0
        self.info = real.info

    def open(self, path: str, *, block_bytes: int | None = None) -> BinaryIO:
        """Open the real object."""
        stream = self._real.open(path, block_bytes=block_bytes)
        read = stream.read

        def counted(size: int = -1) -> bytes:
            data = read(size)
            self.read_bytes += len(data)
            return data

        class Stream:
            seek = stream.seek
            read = staticmethod(counted)

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                stream.close()

        return Stream()  # type: ignore[return-value]


def test_a_header_costs_little(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """Of a large file that says its length, a small part is read."""
    body = body_of(MediaPlan(Made.MP4, 30_000_000, "large"))
    storage.write(PATH, b"".join(body.chunks()))
    counting = _Counting(storage)
    assert times(counting, PATH, MP4) == pytest.approx(body.seconds)  # type: ignore[arg-type]
    assert 0 < counting.read_bytes < 2_000_000


def test_no_more_is_read_than_the_bound(storage: ArchiveStorage) -> None:
    """A file that has to be counted and is too large for it is not told, and not read beyond the bound."""
    storage.write(PATH, bare_mp3(60))
    counting, bound = _Counting(storage), 1_000_000
    small = PlayingTimes(read_bytes_max=bound)
    assert small(counting, PATH, MP3) is None  # type: ignore[arg-type]
    assert 0 < counting.read_bytes <= bound
    small.close()


def test_a_demuxer_that_hangs_is_given_up(storage: ArchiveStorage) -> None:
    """The time of one recording is bounded; the process is killed, and the next recording has a new one."""
    storage.write(PATH, bare_mp3())
    patient, hasty = PlayingTimes(), PlayingTimes(seconds_max=0.2)
    assert patient(storage, PATH, MP3) is not None
    hasty._idle = patient._idle
    process = hasty._idle[0]._process
    os.kill(process.pid, signal.SIGSTOP)
    assert hasty(storage, PATH, MP3) is None
    assert process.poll() is not None
    assert patient(storage, PATH, MP3) is not None
    patient.close()


def test_a_demuxer_that_crashed_is_replaced(storage: ArchiveStorage) -> None:
    """A file that crashes the process costs its own answer, and no other."""
    storage.write(PATH, bare_mp3())
    made = PlayingTimes()
    assert made(storage, PATH, MP3) is not None
    made._idle[0]._process.kill()
    assert [made(storage, PATH, MP3) for _ in range(2)] == [None, pytest.approx(bare_mp3_seconds(2), abs=NEAR)]
    made.close()


def test_what_is_not_there_is_not_told(times: PlayingTimes, storage: ArchiveStorage) -> None:
    """A storage that fails is no reason to raise either."""
    assert times(storage, "recordings/none", MP3) is None


def test_the_process_has_no_key(times: PlayingTimes, storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What opens files from outside does not have the archive's environment, nor much memory, nor a file to write."""
    monkeypatch.setenv("FEATHER_API_KEY", "canary-of-the-demuxer")
    made = PlayingTimes()
    assert asked(made, storage, bare_mp3()) is not None
    environment = Path(f"/proc/{made._idle[0]._process.pid}/environ")
    if environment.exists():
        assert b"canary-of-the-demuxer" not in environment.read_bytes()
        limits = environment.with_name("limits").read_text()
        assert re.search(rf"Max address space +{demuxer.MEMORY_BYTES} ", limits)
        assert re.search(r"Max file size +0 ", limits)
    made.close()
    assert times is not made


def _mp3_at_twice_the_rate() -> bytes:
    return clips._encode_audio(
        "mp3",
        "libmp3lame",
        layout="s16p",
        bit_rate=2 * clips.MP3_BIT_RATE,
        pcm=clips.speech(1),
        options={"write_xing": "0", "id3v2_version": "0"},
    )
