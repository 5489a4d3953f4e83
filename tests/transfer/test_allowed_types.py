"""MEDIA_ALLOWED_TYPES: only recordings of these detected types are stored, whatever a host declares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import NotMediaError, SettingsError
from resources.model import Link
from resources.settings import load_settings
from resources.transfer import AddressPolicy, MediaClient
from resources.transfer.signature import CONTAINERS, TYPES, allows
from sandbox.containers import body_of
from sandbox.media import Container, MediaPlan
from tests.transfer.conftest import LIMITS, NOW, SUBJECT
from tests.transfer.server import MediaServer, answer

BODIES = {each: b"".join(body_of(MediaPlan(each, 9_000, "types")).chunks()) for each in (Container.MP3, Container.MP4)}


@pytest.mark.parametrize(
    ("allowed", "stored"),
    [
        ("", {"mp3", "mp4"}),
        ("audio/*", {"mp3"}),
        (" Video/* , audio/ogg", {"mp4"}),
        ("audio/mpeg,video/mp4", {"mp3", "mp4"}),
        ("audio/wav", set()),
    ],
)
def test_only_what_is_allowed_is_fetched(server: MediaServer, allowed: str, stored: set[str]) -> None:
    """The detected type decides, and the message names the type, the setting and what it allows."""
    entries = load_settings(None, media_allowed_types=allowed).media_allowed_types
    client = MediaClient(AddressPolicy(allow_private=True), LIMITS, now=lambda: NOW, allowed_types=entries)
    for container, data in BODIES.items():
        server.scripts[f"/{container}"] = answer(data, headers={"Content-Type": "audio/wav"})
        link = Link(server.url(f"/{container}"), None)
        if container in stored:
            with client.fetch(SUBJECT, link) as body:
                assert b"".join(body.chunks()) == data
            continue
        with pytest.raises(NotMediaError) as caught:
            client.fetch(SUBJECT, link)
        error = caught.value
        assert container.content_type in error.detail
        assert "MEDIA_ALLOWED_TYPES" in error.detail
        assert set(entries) <= set(error.detail.replace(",", " ").split())
        assert error.evidence is not None
        assert error.evidence.seems == container.content_type
    client.close()


@pytest.mark.parametrize("wrong", ["image/*", "audio/mp3", "audio", "*/*", "audio/*,text/html", "audio/mpeg;q=1", "*"])
def test_what_no_recording_ever_is_is_refused(wrong: str) -> None:
    """A type that cannot be detected would refuse everything: the error names it, the setting, and what there is."""
    with pytest.raises(SettingsError, match=r"MEDIA_ALLOWED_TYPES.*audio/mpeg"):
        load_settings(None, media_allowed_types=wrong)


@given(st.lists(st.sampled_from([*TYPES, "audio/*", "video/*"])), st.sampled_from(CONTAINERS))
def test_a_list_allows_what_stands_in_it(entries: list[str], container: object) -> None:
    """By its name or by its kind; an empty list allows everything."""
    kind = container.content_type  # type: ignore[attr-defined]
    expected = not entries or kind in entries or f"{kind.split('/')[0]}/*" in entries
    assert allows(entries, kind) == expected
    assert load_settings(None, media_allowed_types=",".join(entries)).media_allowed_types == tuple(entries)


def test_the_bytes_are_in_no_text_of_the_error(server: MediaServer) -> None:
    """The error carries what came, and shows it nowhere: not in its words, its repr, its arguments or those of its evidence."""
    server.scripts["/page"] = answer(b"<html><body>canary-of-the-page " + b"." * 200)
    client = MediaClient(AddressPolicy(allow_private=True), LIMITS, now=lambda: NOW)
    with pytest.raises(NotMediaError) as caught:
        client.fetch(SUBJECT, Link(server.url("/page"), None))
    error = caught.value
    assert error.evidence is not None
    assert b"canary-of-the-page" in error.evidence.head
    for text in (str(error), repr(error), repr(error.args), repr(error.evidence), error.detail):
        assert "canary-of-the-page" not in text
    client.close()
