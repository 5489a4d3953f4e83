"""The backends that the contract is run against."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import obstore.store
import pytest

from resources.storage import ArchiveStorage, open_storage
from resources.storage.object_store import CopyWithinStore, ObjectStorage
from resources.storage.s3 import find_access
from tests.storage.seaweed import Seaweed, seaweed

__all__ = ["seaweed"]

_access_once = functools.cache(find_access)  # botocore reads megabytes of JSON for each; test_s3.py opens without this
Open = Callable[[], ArchiveStorage]


def _copying(folder: Path) -> ArchiveStorage:
    """The object storage as it is on GCS and Azure, on a store that is a folder: the copy within the store is exercised."""
    store = obstore.store.LocalStore(folder, mkdir=True)
    filesystem = fsspec.filesystem("file", use_listings_cache=False)
    return ObjectStorage("test://copying", filesystem, str(folder), store, CopyWithinStore("test://copying", store), "a folder")


@pytest.fixture(params=["local", "memory", "copying", pytest.param("s3", marks=pytest.mark.s3)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """A function that opens the same empty root again and again."""
    if request.param == "local":
        yield lambda: open_storage(str(tmp_path / "archive"))
    elif request.param == "copying":
        yield lambda: _copying(tmp_path / "store")
    elif request.param == "memory":
        root = f"memory://archive-{uuid.uuid4().hex}"
        yield lambda: open_storage(root)
        fsspec.filesystem("memory").store.clear()
    else:
        server: Seaweed = request.getfixturevalue("seaweed")
        server.use(monkeypatch)
        monkeypatch.setattr("resources.storage.root.find_access", _access_once)
        root = f"s3://{server.bucket}/{uuid.uuid4().hex}/archive"
        yield lambda: open_storage(root)


@pytest.fixture
def storage(reopen: Open) -> ArchiveStorage:
    """An empty archive on each backend in turn."""
    return reopen()
