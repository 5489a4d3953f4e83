"""The trial of a root for ``doctor``."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress

from resources.errors import AlreadyStoredError, StorageError
from resources.storage.archive import ArchiveStorage, Check

PROBE_FOLDER = "probe"
_DATA = b"recording-archive probe\n"


def _read_back(storage: ArchiveStorage, path: str) -> None:
    if storage.read(path) != _DATA:
        msg = f"{storage.url}: {path} was read back with other bytes than were written; this storage cannot be trusted"
        raise StorageError(msg)


def _listed(storage: ArchiveStorage, path: str) -> None:
    if path not in [found.path for found in storage.list(PROBE_FOLDER)]:
        msg = f"{storage.url}: {path} was written but is not listed; this storage is not consistent enough for the archive"
        raise StorageError(msg)


def _second_writer_refused(storage: ArchiveStorage, path: str) -> None:
    try:
        storage.create(path, b"second writer")
    except AlreadyStoredError:
        return
    msg = f"{storage.url}: a second writer was not refused; this storage ignores conditional writes (If-None-Match)"
    raise StorageError(msg)


def _deleted(storage: ArchiveStorage, path: str) -> None:
    storage.delete(path)
    if storage.exists(path):
        msg = f"{storage.url}: {path} is still there after it was deleted; allow deleting, or change ARCHIVE_ROOT"
        raise StorageError(msg)


def probe(storage: ArchiveStorage) -> list[Check]:
    """Try what the archive needs, in order, and stop at the first failure."""
    path = f"{PROBE_FOLDER}/{uuid.uuid4().hex}"
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("write an object", lambda: storage.create(path, _DATA)),
        ("read it back", lambda: _read_back(storage, path)),
        ("list it", lambda: _listed(storage, path)),
        ("refuse a second writer", lambda: _second_writer_refused(storage, path)),
        ("replace it", lambda: storage.write(path, _DATA)),
        ("delete it", lambda: _deleted(storage, path)),
    )
    try:
        return _tried(steps)
    finally:
        folder = storage.local_path(PROBE_FOLDER)
        if folder is not None:
            with suppress(OSError):  # it was never made, or another trial is at work in it
                folder.rmdir()


def _tried(steps: Iterable[tuple[str, Callable[[], None]]]) -> list[Check]:
    checks: list[Check] = []
    for name, step in steps:
        try:
            step()
        except StorageError as error:
            checks.append(Check(name, error))
            break
        checks.append(Check(name))
    return checks
