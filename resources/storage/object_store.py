"""The archive on S3, Google Cloud Storage or Azure: obstore writes, fsspec reads.

What was measured against a real S3 server, and what follows from it:

- ``obstore.put(iterator, mode="create")`` holds the whole body in memory and sends one PUT: 300 MiB of body took 300 MiB of
  memory, and no multipart upload was listed. A recording may be many GiB, and S3 takes 5 GiB in one PUT. So a body beyond
  :data:`SINGLE_PUT_BYTES` is streamed by a :class:`LargePut`, which each kind of store does in its own way.
- ``obstore.put(iterator)`` runs the iterator inside obstore's own runtime: any other call of obstore from there panics. So no
  iterator is handed to obstore.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Protocol, TypedDict, cast

import obstore
from obstore.store import ObjectStore

from resources.errors import AlreadyStoredError, StorageError
from resources.failpoints import Failpoint, reached
from resources.storage.archive import ArchiveStorage, FileSystem, ObjectInfo
from resources.storage.faults import storage_faults
from resources.storage.owner import Alive, is_abandoned, temporary_name
from resources.storage.paths import TEMPORARY, checked_path, checked_prefix

SINGLE_PUT_BYTES = 8 * 1024 * 1024
"""Below this a body is one PUT; above, parts of this size. S3 allows 10,000 parts, so a recording may have 78 GiB."""
RETRIES = 5
"""How often obstore asks again after a 5xx or a broken connection: about 3 s in all. Its own default, 10, took 10 s to say that
nobody listens. What lasts longer is the business of the attempt's own retry."""
PARTS_IN_FLIGHT = 3
"""Parts of one object that are sent at once. Several objects are sent at once already, and each part costs its size in memory."""


class LargePut(Protocol):
    """Streams a large body to its name."""

    def put_large(self, path: str, chunks: Iterator[bytes], *, replace: bool) -> int:
        """Do it; the same promises as :meth:`ArchiveStorage.create_from`, whose path is checked already.

        Args:
            path: where to.
            chunks: the body.
            replace: whether the name may be taken.
        """
        ...

    def clear(self, dead: Sequence[str], others: Callable[[], Iterable[str]]) -> None:
        """Undo what dead processes had begun, and remove the temporary objects that tell of it.

        Args:
            dead: paths of those objects.
            others: lists the temporary objects that are not abandoned, as they are at the moment of the call.
        """
        ...


class ObjectStorage(ArchiveStorage):
    """Objects below a prefix of a bucket or container."""

    def __init__(self, url: str, filesystem: FileSystem, base: str, store: ObjectStore, large: LargePut, place: str) -> None:
        """Stand on ``store`` for writing and ``filesystem`` for reading.

        Args:
            url: the root without secrets.
            filesystem: the fsspec filesystem of the same bucket.
            base: bucket and prefix as ``filesystem`` spells them.
            store: obstore's store, with the same prefix.
            large: how this kind of store takes a large object.
            place: what :meth:`describe` says.
        """
        super().__init__(url, filesystem, base)
        self._store = store
        self._large = large
        self._place = place

    def describe(self) -> str:
        """Say where the archive is."""
        return self._place

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield all objects below ``prefix``."""
        folder = checked_prefix(prefix)
        with storage_faults(self.url, f"list {folder or 'the root'}"):
            found = [
                ObjectInfo(each["path"], each["size"], each["last_modified"])
                for page in _pages(self._store, folder)
                for each in page
                if each["path"].partition("/")[0].lower() != TEMPORARY
            ]
        # AWS lists in the order of the keys; its directory buckets and some other services do not.
        found.sort(key=lambda each: each.path)
        yield from found

    def write(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``."""
        checked_path(path)
        if len(data) > SINGLE_PUT_BYTES:
            self._large.put_large(path, iter((data,)), replace=True)
            return
        with storage_faults(self.url, f"write {path}"):
            obstore.put(self._store, path, data, mode="overwrite", use_multipart=False)
        reached(Failpoint.OBJECT_NAMED)

    def create(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``, if nothing is there."""
        checked_path(path)
        with storage_faults(self.url, f"create {path}"):
            obstore.put(self._store, path, data, mode="create")
        reached(Failpoint.OBJECT_NAMED)

    def create_from(self, path: str, chunks: Iterator[bytes]) -> int:
        """Put what ``chunks`` yields at ``path``, if nothing is there."""
        if self.exists(path):
            msg = f"{self.url}: did not create {path}: it is stored already"
            raise AlreadyStoredError(msg)
        head: list[bytes] = []
        size = 0
        for chunk in chunks:
            head.append(chunk)
            size += len(chunk)
            if size > SINGLE_PUT_BYTES:
                return self._large.put_large(path, chain(_emptied(head), chunks), replace=False)
        self.create(path, b"".join(head))
        return size

    def put_file(self, path: str, local: Path) -> None:
        """Put a local file at ``path``."""
        checked_path(path)
        with storage_faults(self.url, f"copy {local.name} to {path}"):
            source = local.open("rb")
        with source:
            head = source.read(SINGLE_PUT_BYTES + 1)
            if len(head) > SINGLE_PUT_BYTES:  # obstore would make an upload of its own there, which no sweep could find
                self._large.put_large(path, chain((head,), iter(lambda: source.read(SINGLE_PUT_BYTES), b"")), replace=True)
                return
        self.write(path, head)

    def delete(self, path: str) -> None:
        """Remove an object."""
        checked_path(path)
        with storage_faults(self.url, f"delete {path}"), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, path)

    def sweep(self, alive: Alive | None = None) -> int:
        """Remove the temporary objects of processes of this machine that run no longer, and on S3 what they were uploading.

        What a machine left that is no more, or has been started anew, nobody can tell from what lives elsewhere: a lifecycle rule
        "AbortIncompleteMultipartUpload" of the bucket clears that.
        """
        dead = [path for path, abandoned in self._temporaries(alive) if abandoned]
        if dead:
            self._large.clear(dead, lambda: [path for path, abandoned in self._temporaries(alive) if not abandoned])
        return len(dead)

    def _temporaries(self, alive: Alive | None) -> list[tuple[str, bool]]:
        """Return the temporary objects, and whether their owners are dead processes of this machine."""
        with storage_faults(self.url, f"sweep {TEMPORARY}"):
            found = [each["path"] for page in _pages(self._store, TEMPORARY) for each in page]
        return [(path, is_abandoned(path.rpartition("/")[2], alive)) for path in found]


class _Found(TypedDict):
    path: str
    size: int
    last_modified: datetime


class _List(Protocol):
    def __call__(self, store: ObjectStore, prefix: str | None) -> Iterable[Sequence[_Found]]: ...


def _pages(store: ObjectStore, folder: str) -> Iterable[Sequence[_Found]]:
    # Typed by hand: obstore's overloads mention arro3, which is not installed.
    return cast("_List", obstore.list)(store, folder or None)  # pyright: ignore[reportUnknownMemberType]


def _emptied(head: list[bytes]) -> Iterator[bytes]:
    """Yield the chunks of ``head`` and let go of each."""
    while head:
        yield head.pop(0)


@dataclass(frozen=True, slots=True)
class CopyWithinStore:
    """A large put for Google Cloud Storage and Azure: upload to ``.tmp/``, then a copy that can refuse a taken name.

    Both copy inside the service, under a condition (``ifGenerationMatch=0``, ``If-None-Match: *``), without a byte through here.
    """

    url: str
    store: ObjectStore

    def put_large(self, path: str, chunks: Iterator[bytes], *, replace: bool) -> int:
        """Stream ``chunks`` to ``path``."""
        temporary = f"{TEMPORARY}/{temporary_name()}"
        action = f"{'write' if replace else 'create'} {path}"
        try:
            size = self._upload(temporary, chunks, action)
            with storage_faults(self.url, action):
                obstore.copy(self.store, temporary, path, overwrite=replace)
                stored = obstore.head(self.store, path)["size"]
        finally:
            with contextlib.suppress(Exception):  # the sweep gets what cannot be removed now
                obstore.delete(self.store, temporary)
        if stored != size:
            msg = f"{self.url}: the copy to {path} has {stored} of {size} bytes; delete it and try again"
            raise StorageError(msg)
        return size

    def clear(self, dead: Sequence[str], others: Callable[[], Iterable[str]]) -> None:  # noqa: ARG002 - nothing is shared
        """Remove the temporary objects; they are all that was begun."""
        with storage_faults(self.url, f"sweep {TEMPORARY}"):
            for path in dead:
                with contextlib.suppress(FileNotFoundError):  # another sweep was faster
                    obstore.delete(self.store, path)

    def _upload(self, temporary: str, chunks: Iterator[bytes], action: str) -> int:
        """Stream to the temporary name."""
        size = 0
        with storage_faults(self.url, action):
            writer = obstore.open_writer(self.store, temporary, buffer_size=SINGLE_PUT_BYTES, max_concurrency=PARTS_IN_FLIGHT)
        try:
            for chunk in chunks:  # outside of storage_faults: what it raises passes through
                with storage_faults(self.url, action):
                    writer.write(chunk)
                size += len(chunk)
        except BaseException:
            with contextlib.suppress(Exception):
                writer.close()  # completes the temporary object, which is then deleted: no parts stay behind
            raise
        with storage_faults(self.url, action):
            writer.close()
        return size
