"""What only the filesystems without conditions do: temporary objects with an owner's name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import fsspec
import obstore.store
import pytest

from resources.storage import ArchiveStorage, open_storage
from resources.storage.object_store import CopyWithinStore, ObjectStorage
from resources.storage.owner import machine, temporary_name


@pytest.fixture(params=["memory", "copying"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveStorage]:
    """A root whose temporary objects carry their owner in their names."""
    if request.param == "memory":
        yield open_storage(f"memory://{uuid.uuid4().hex}")
        fsspec.filesystem("memory").store.clear()
        return
    folder = tmp_path_factory.mktemp("store")
    store = obstore.store.LocalStore(folder)
    filesystem = fsspec.filesystem("file", use_listings_cache=False)
    yield ObjectStorage("test://copying", filesystem, str(folder), store, CopyWithinStore("test://copying", store), "a folder")


def _leave(storage: ArchiveStorage, name: str) -> str:
    path = f"{storage.full_path()}/.tmp/{name}"
    storage.filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    storage.filesystem.pipe_file(path, b"unfinished")
    return path


def test_the_sweep_takes_what_dead_processes_of_this_machine_left(storage: ArchiveStorage) -> None:
    """Living owners, other machines and foreign names are spared; the age does not matter."""
    dead, living = 4_000_001, 4_000_002
    gone = _leave(storage, f"{machine()}-{dead}-1-{uuid.uuid4().hex}")
    kept = [
        _leave(storage, f"{machine()}-{living}-1-{uuid.uuid4().hex}"),
        _leave(storage, f"{'0' * 16}-{dead}-1-{uuid.uuid4().hex}"),
        _leave(storage, "somebody-elses-file"),
        _leave(storage, "notes"),
    ]
    assert list(storage.list()) == []
    assert storage.sweep(alive=lambda process: process.pid == living) == 1
    assert not storage.filesystem.exists(gone)
    assert all(storage.filesystem.exists(each) for each in kept)


def test_the_operating_system_is_asked_who_lives(storage: ArchiveStorage) -> None:
    """Without a judge of its own, the sweep spares this very process."""
    _leave(storage, temporary_name())
    assert storage.sweep() == 0
