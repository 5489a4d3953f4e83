"""A local copy of the catalog on object storage, while publications replace and remove what the pointer named."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from assets.catalog import publication
from assets.catalog.publication import POINTER, VERSIONS, Pointer, current, local_catalog, publish
from assets.recordings.lifecycle import State
from pipelines.cli.query import ask
from resources.errors import StorageError
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage, open_storage
from tests.catalog.lakes import NOW, append, event
from tests.storage.seaweed import Seaweed, seaweed

__all__ = ["seaweed"]

SPECS = (PROVIDERS["feather"],)
REPLACING = 3
"""So many publications remove a version."""


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.s3)])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ArchiveStorage:
    """Return object storage with a published archive of one recording."""
    url = f"memory://{uuid.uuid4().hex}/archive"
    if request.param == "s3":
        server: Seaweed = request.getfixturevalue("seaweed")
        server.use(monkeypatch)
        url = f"s3://{server.bucket}/{uuid.uuid4().hex}/archive"
    root = open_storage(url)
    append(root, [event("feather", "first", State.ARCHIVED)])
    publish(root, SPECS, NOW)
    return root


def replace_the_catalog(storage: ArchiveStorage) -> None:
    """Publish until nothing is left of the version that was current; the ledger has a recording more then."""
    was = current(storage)
    assert was is not None
    append(storage, [event("feather", uuid.uuid4().hex, State.ARCHIVED)])
    for minutes in range(1, REPLACING + 1):
        publish(storage, SPECS, NOW + timedelta(minutes=minutes))
    assert not storage.exists(was.path)


def vanishing_after_the_pointer(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Let the catalog be replaced after each of the first readings of the pointer; return what these read."""
    named: list[str] = []

    def read(storage: ArchiveStorage) -> Pointer | None:
        told = current(storage)
        assert told is not None
        named.append(told.path)
        if len(named) <= times:
            replace_the_catalog(storage)
        return told

    monkeypatch.setattr(publication, "current", read)
    return named


def counted(storage: ArchiveStorage, catalog: Path) -> int:
    """Return how many recordings a catalog file tells of."""
    return int(ask(storage, catalog, "SELECT count(*) FROM recordings")[1][0][0])


def left(folder: Path) -> list[str]:
    """Return the names of what lies in a folder."""
    return [path.name for path in folder.iterdir()]


def test_a_version_that_goes_before_it_is_opened(
    storage: ArchiveStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pointer is read again, and the copy is the version that it names by then, whole."""
    named = vanishing_after_the_pointer(monkeypatch, 1)
    copy = local_catalog(storage, tmp_path)
    told = current(storage)
    assert told is not None
    assert (len(named), copy.name) == (2, told.path.rpartition("/")[2])
    assert left(tmp_path) == [copy.name]
    assert copy.read_bytes() == storage.read(told.path)
    assert counted(storage, copy) == 2


def test_a_version_that_goes_while_it_is_read(storage: ArchiveStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened is not read: on S3 its bytes are asked for later. Nothing is left of a part."""
    was, opened = current(storage), storage.open
    assert was is not None

    def open_and_lose(path: str, *, block_bytes: int | None = None) -> BinaryIO:
        source = opened(path, block_bytes=block_bytes)
        if path == was.path and storage.exists(path):
            replace_the_catalog(storage)
        return source

    monkeypatch.setattr(storage, "open", open_and_lose)
    copy = local_catalog(storage, tmp_path)
    assert left(tmp_path) == [copy.name]
    told = current(storage)
    assert told is not None
    # Who has an object in memory open goes on reading it.
    assert copy.name == Path((was if storage.url.startswith("memory") else told).path).name
    assert counted(storage, copy) == 2, "an old version asks for the tail as well"


def test_one_that_is_gone_for_good_is_named(storage: ArchiveStorage, tmp_path: Path) -> None:
    """Deleted by hand, what the pointer names is nowhere; the error says so, and what makes it anew, which does."""
    told = current(storage)
    assert told is not None
    storage.delete(told.path)
    with pytest.raises(StorageError, match=f"{POINTER} in .* has named {told.path}, .* launch the catalog asset"):
        local_catalog(storage, tmp_path)
    assert left(tmp_path) == []
    publish(storage, SPECS, NOW)
    assert local_catalog(storage, tmp_path).exists()


def test_it_is_asked_a_few_times_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each version that is named is gone at once, it ends with an error that names them all."""
    storage = open_storage(f"memory://{uuid.uuid4().hex}/archive")
    append(storage, [event("feather", "first", State.ARCHIVED)])
    publish(storage, SPECS, NOW)
    named = vanishing_after_the_pointer(monkeypatch, 99)
    with pytest.raises(StorageError, match="nothing is there: run this again in a minute") as raised:
        local_catalog(storage, tmp_path)
    assert 2 <= len(set(named)) == len(named) <= 5
    assert all(path in str(raised.value) for path in named)
    assert all(path.startswith(f"{VERSIONS}/") for path in named)
