"""Every storage takes a body that broke and went on, and none publishes one that could not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from resources.errors import NotContinuedError
from resources.model import Link
from resources.storage import ArchiveStorage
from resources.storage.object_store import SINGLE_PUT_BYTES
from resources.transfer import MediaClient
from tests.transfer.conftest import SUBJECT, media
from tests.transfer.conftest import client as client  # noqa: PLC0414 - a fixture
from tests.transfer.objects import Hosted
from tests.transfer.server import MediaServer, running_server

SIZE = 2 * SINGLE_PUT_BYTES + 12_345
CUTS = [SINGLE_PUT_BYTES + 1, SINGLE_PUT_BYTES // 2]


@pytest.fixture
def server() -> Iterator[MediaServer]:
    """A scripted server on loopback."""
    with running_server() as running:
        yield running


def test_a_body_that_broke_is_stored_whole(storage: ArchiveStorage, server: MediaServer, client: MediaClient) -> None:
    """Breaks before and behind the border of a part leave no trace in the object: a multipart upload goes on as well."""
    hosted = Hosted(server, media(SIZE), cuts=list(CUTS))
    with client.fetch(SUBJECT, hosted.link(), hosted.link) as body:
        assert storage.create_from("recordings/a.mp4", body.chunks()) == SIZE
    assert body.facts.continuations == len(CUTS)
    assert hosted.sent == SIZE
    assert hashlib.sha256(storage.read("recordings/a.mp4")).hexdigest() == body.facts.sha256


def test_a_body_that_changed_is_not_published(storage: ArchiveStorage, server: MediaServer, client: MediaClient) -> None:
    """When the rest is of another recording, nothing is visible, and the next try has a free place."""
    hosted = Hosted(server, media(SIZE), cuts=list(CUTS))

    def refresh() -> Link:
        hosted.validators = {"ETag": '"another"'}
        return hosted.link()

    with pytest.raises(NotContinuedError), client.fetch(SUBJECT, hosted.link(), refresh) as body:
        storage.create_from("recordings/a.mp4", body.chunks())
    assert list(storage.list("recordings")) == []
    hosted.cuts.clear()
    with client.fetch(SUBJECT, hosted.link(), hosted.link) as body:
        assert storage.create_from("recordings/a.mp4", body.chunks()) == SIZE
