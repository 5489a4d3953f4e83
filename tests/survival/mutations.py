"""What the kill tests have to notice: the archive with one of its rules broken.

Each mutation is a context manager; a child process works under it from its first line to its end.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import msgspec

import tests.survival.run
from assets.recordings import adoption, archiving, copying, names, sidecar
from assets.recordings.buffer import EventBuffer
from assets.recordings.copying import Copier, Made
from assets.recordings.errand import Errand
from assets.recordings.events import Copy, Event
from assets.recordings.sidecar import Sidecar
from resources.errors import Subject
from resources.failpoints import Failpoint, reached
from resources.storage import ArchiveStorage
from resources.storage.disk import _SystemFile
from resources.storage.local import LocalStorage
from resources.storage.object_store import ObjectStorage

Mutation = Callable[[], AbstractContextManager[Any]]


@contextlib.contextmanager
def publish_before_verification() -> Iterator[None]:
    """Write to the final name as the bytes come, as ``fsspec.open(path, "wb")`` would."""

    def create_from(storage: LocalStorage, path: str, chunks: Iterator[bytes]) -> int:
        place = storage.local_path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb", buffering=0) as file:
            for chunk in chunks:
                file.write(chunk)
                reached(Failpoint.PART_STORED)
            return file.tell()

    with patch.object(LocalStorage, "create_from", create_from):
        yield


@contextlib.contextmanager
def event_before_publication() -> Iterator[None]:
    """Say that a recording is archived, and put it there afterwards."""
    later: list[Callable[[], object]] = []
    add = EventBuffer.add

    def make(copier: Copier, errand: Errand) -> Made:
        key, storage = errand.key, copier.archive.storage
        link = copier.provider.link(key.execution_id, key.leg)
        with copier.archive.media.fetch(Subject(key.provider, key.execution_id, key.leg.value), link) as body:
            path = names.recording_path(key.provider, errand.day, key.execution_id, key.leg, body.detected.extension)
            chunks = list(body.chunks())
        facts = body.facts
        told = Sidecar(
            provider=key.provider,
            execution_id=key.execution_id,
            leg=key.leg.value,
            date=errand.day,
            path=path,
            bytes=facts.bytes,
            sha256=facts.sha256,
            content_type=facts.content_type,
            archived_at=copier.archive.runtime.now(),
            run_id=errand.run_id,
            attempts=1,
        )
        later.append(lambda: (storage.create_from(path, iter(chunks)), sidecar.write_sidecar(storage, told)))
        return Made(_forget_sidecar(storage, told))

    def add_first(buffer: EventBuffer, event: Event) -> None:
        add(buffer, event)
        buffer.flush()
        while later:
            later.pop()()

    with patch.object(Copier, "make", make), patch.object(EventBuffer, "add", add_first):
        yield


def _forget_sidecar(_: ArchiveStorage, told: Sidecar) -> Copy:
    return sidecar._copy(told, msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


@contextlib.contextmanager
def no_sidecars() -> Iterator[None]:
    """Publish recordings without their facts."""
    with patch.object(copying, "write_sidecar", _forget_sidecar), patch.object(adoption, "write_sidecar", _forget_sidecar):
        yield


def no_adoption() -> AbstractContextManager[Any]:
    """Do not look for recordings that a dead run has published."""
    return patch.object(adoption, "find_orphans", lambda *_: {})


@contextlib.contextmanager
def no_memory() -> Iterator[None]:
    """Do not look for them, and replace what is there."""

    def create_from(storage: ArchiveStorage, path: str, chunks: Iterator[bytes]) -> int:
        data = b"".join(chunks)
        storage.write(path, data)
        return len(data)

    with no_adoption(), patch.object(LocalStorage, "create_from", create_from):
        yield


@contextlib.contextmanager
def no_manifests() -> Iterator[None]:
    """Leave the manifests as a dead run left them."""
    with (
        patch.object(archiving, "publish_manifest", lambda *_: 0),
        patch("assets.recordings.compaction.publish_manifests", lambda *_, **__: None),
    ):
        yield


@contextlib.contextmanager
def no_sweep() -> Iterator[None]:
    """Leave what dead runs left half-written."""
    with patch.object(LocalStorage, "sweep", lambda *_: 0), patch.object(ObjectStorage, "sweep", lambda *_: 0):
        yield


MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        publish_before_verification,
        event_before_publication,
        no_sidecars,
        no_adoption,
        no_memory,
        no_manifests,
        no_sweep,
    )
}
_QUOTA_BYTES = 2_000_000


@contextlib.contextmanager
def folder_quota() -> Iterator[None]:
    """Refuse bytes as a file system does whose quota is used up: EDQUOT, from two megabytes a file on."""
    written: dict[int, int] = {}
    write = _SystemFile.write

    def counted(file: _SystemFile, data: memoryview) -> int:
        number = file.file.fileno()
        written[number] = written.get(number, 0) + len(data)
        if written[number] > _QUOTA_BYTES:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return write(file, data)

    with patch.object(_SystemFile, "write", counted):
        yield


EMULATED: dict[str, Mutation] = {"folder_quota": folder_quota}
"""Faults of a storage that a test cannot have in earnest."""

assert tests.survival.run  # what a child runs is imported with what may be broken in it
