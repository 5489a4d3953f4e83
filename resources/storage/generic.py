"""The archive on any other filesystem that fsspec knows (``memory://``, ``sftp://``, ``hdfs://``, ...).

A write goes to ``.tmp/`` and is moved to its name. "Nothing is there" is checked right before the move, under a lock that all
storages of this process share: two *processes* that create the same object at the same moment may both believe that they won,
because fsspec has no conditional move. Local disk and the object stores have no such gap.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

from resources.errors import AlreadyStoredError
from resources.storage.archive import ArchiveStorage, ObjectInfo, modified_of, size_of
from resources.storage.faults import storage_faults
from resources.storage.owner import Alive, is_abandoned, temporary_name
from resources.storage.paths import TEMPORARY, checked_path, checked_prefix

_COPY_BYTES = 1024 * 1024
_publishing = threading.Lock()


class GenericStorage(ArchiveStorage):
    """Objects on an fsspec filesystem without conditional writes."""

    def describe(self) -> str:
        """Say where the archive is."""
        return f"fsspec filesystem at {self.url}"

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield all objects below ``prefix``."""
        folder = checked_prefix(prefix)
        with storage_faults(self.url, f"list {folder or 'the root'}"):
            found = self._below(folder)
        for path in sorted(found):
            if path.partition("/")[0].lower() != TEMPORARY:
                yield found[path]

    def _below(self, folder: str) -> dict[str, ObjectInfo]:
        top = f"{self._base}/{folder}" if folder else self._base
        try:
            details = self._filesystem.find(top, detail=True)
        except FileNotFoundError:
            return {}
        objects: dict[str, ObjectInfo] = {}
        for full, each in details.items():
            # fsspec spells paths with or without a leading slash, by backend; the base is in front in either case.
            path = full.lstrip("/").removeprefix(self._base.lstrip("/")).lstrip("/")
            if not folder or path.startswith(f"{folder}/"):
                objects[path] = ObjectInfo(path, size_of(each), modified_of(each))
        return objects

    # -- writing

    @contextlib.contextmanager
    def _temporary_name(self) -> Generator[str]:
        name = f"{self._base}/{TEMPORARY}/{temporary_name()}"
        try:
            yield name
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell; the sweep gets the rest
                self._filesystem.rm_file(name)
            raise

    def _parent(self, full: str) -> None:
        self._filesystem.makedirs(full.rpartition("/")[0], exist_ok=True)

    def _move(self, temporary: str, path: str, *, replace: bool) -> None:
        target = self._key(path)
        with storage_faults(self.url, f"{'write' if replace else 'create'} {path}"), _publishing:
            if not replace and self._filesystem.exists(target):
                raise FileExistsError(target)
            self._parent(target)
            self._filesystem.mv(temporary, target)

    def _refuse_stored(self, path: str) -> None:
        if self.exists(path):
            msg = f"{self.url}: did not create {path}: it is stored already"
            raise AlreadyStoredError(msg)

    def _put(self, path: str, chunks: Iterator[bytes], *, replace: bool) -> int:
        checked_path(path)
        action = f"{'write' if replace else 'create'} {path}"
        written = 0
        with self._temporary_name() as temporary:
            with storage_faults(self.url, action):
                self._parent(temporary)
                file = self._filesystem.open(temporary, "wb")
            try:
                for chunk in chunks:  # outside of storage_faults: what it raises passes through
                    with storage_faults(self.url, action):
                        file.write(chunk)
                    written += len(chunk)
            except BaseException:
                with contextlib.suppress(Exception):
                    file.close()
                raise
            with storage_faults(self.url, action):
                file.close()
            self._move(temporary, path, replace=replace)
        return written

    def write(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``."""
        self._put(path, iter((data,)), replace=True)

    def create(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``, if nothing is there."""
        self.create_from(path, iter((data,)))

    def create_from(self, path: str, chunks: Iterator[bytes]) -> int:
        """Put what ``chunks`` yields at ``path``, if nothing is there."""
        self._refuse_stored(path)
        return self._put(path, chunks, replace=False)

    def put_file(self, path: str, local: Path) -> None:
        """Put a local file at ``path``."""
        with storage_faults(self.url, f"read {local.name}"):
            source = local.open("rb")
        with source:
            self._put(path, iter(lambda: source.read(_COPY_BYTES), b""), replace=True)

    def delete(self, path: str) -> None:
        """Remove an object."""
        with storage_faults(self.url, f"delete {path}"), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self._key(path))

    def sweep(self, alive: Alive | None = None) -> int:
        """Remove the temporary objects of processes of this machine that run no longer."""
        removed = 0
        with storage_faults(self.url, f"sweep {TEMPORARY}"):
            for path in self._below(TEMPORARY):
                if is_abandoned(path.rpartition("/")[2], alive):
                    with contextlib.suppress(FileNotFoundError):  # another sweep was faster
                        self._filesystem.rm_file(f"{self._base}/{path}")
                    removed += 1
        return removed
