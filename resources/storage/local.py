"""The archive on a local (or mounted) disk.

A write goes to ``.tmp/``, is fsynced, and gets its name by a rename or, where nothing may be replaced, by a link, which the file
system refuses if the name is taken. Then the folder is fsynced, and every folder that had to be made.

The owner of a temporary file holds an ``flock`` on it for as long as it lives. The kernel lets go of that lock when the process
dies, however it dies, so :meth:`LocalStorage.sweep` takes exactly the files whose lock it can get: no process ids that are used
again, no clocks, and on NFS it holds between hosts too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from resources.errors import AlreadyStoredError, StorageError
from resources.failpoints import Failpoint, reached
from resources.storage.archive import ArchiveStorage, FileSystem, ObjectInfo
from resources.storage.disk import Disk, NewFile, SystemDisk
from resources.storage.faults import storage_faults
from resources.storage.owner import Alive
from resources.storage.paths import TEMPORARY, checked_path, checked_prefix

_COPY_BYTES = 1024 * 1024
_CREATE_LOCK = "create.lock"
# File systems that cannot link at all (exFAT, some FUSE and SMB mounts) say one of these.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class _Temporary:
    path: Path
    file: NewFile


class LocalStorage(ArchiveStorage):
    """Objects are files below a folder."""

    def __init__(self, url: str, filesystem: FileSystem, root: Path, disk: Disk | None = None) -> None:
        """Stand on the folder ``root``, which is made by the first write; ``disk`` is a seam for the simulator."""
        super().__init__(url, filesystem, str(root))
        self._root = root
        self._disk = disk or SystemDisk()
        self._temporary = root / TEMPORARY
        self._lasting: set[Path] = set()
        self._seen = False

    def describe(self) -> str:
        """Say where the archive is."""
        return f"folder {self._root}"

    def local_path(self, path: str = "") -> Path:
        """Return the place on this disk."""
        return self._root / checked_path(path) if path else self._root

    def _place(self, path: str) -> Path:
        """Return an object's file; unlike :meth:`local_path`, never the root.

        Raises:
            StorageError: a part of the path is a symbolic link, or the file is a pipe or a device.
        """
        place = self._root
        for segment in checked_path(path).split("/"):
            place /= segment
            if self._disk.leads_away(place):
                relative = place.relative_to(self._root)
                msg = (
                    f"{self.url}: {relative} is a symbolic link, a pipe or a device; none is followed inside an archive. "
                    "Put what it leads to in its place, or mount it there."
                )
                raise StorageError(msg)
        return place

    # -- reading

    def read(self, path: str) -> bytes:
        """Return an object's bytes."""
        with storage_faults(self.url, f"read {path}", reading=True):
            return self._disk.read(self._place(path))

    def open(self, path: str, *, block_bytes: int | None = None) -> BinaryIO:
        """Open an object for reading."""
        del block_bytes  # the operating system reads what is asked for
        with storage_faults(self.url, f"open {path}", reading=True):
            return self._disk.open(self._place(path))

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Return a part of an object."""
        if not 0 <= start <= end:
            msg = f"a range runs forward from 0, not {start}..{end}"
            raise ValueError(msg)
        with self.open(path) as stream, storage_faults(self.url, f"read {path}", reading=True):
            stream.seek(start)
            return stream.read(end - start)

    def info(self, path: str) -> ObjectInfo:
        """Return size and time of an object."""
        with storage_faults(self.url, f"look at {path}", reading=True):
            found = self._disk.details(self._place(path))
            if found.is_folder:
                raise FileNotFoundError(path)
        return ObjectInfo(path, found.size, found.modified)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield all objects below ``prefix``, a folder at a time."""
        folder = checked_prefix(prefix)
        if folder:
            self._place(folder)
        with storage_faults(self.url, f"list {folder or 'the root'}"):
            yield from self._walk(self.local_path(folder), f"{folder}/" if folder else "")

    def _walk(self, folder: Path, relative: str) -> Iterator[ObjectInfo]:
        try:
            entries = self._disk.entries(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        # A folder sorts as its paths do: with the slash behind its name.
        for entry in sorted(entries, key=lambda each: f"{each.name}/" if each.is_folder else each.name):
            if not relative and entry.name.lower() == TEMPORARY:
                continue
            if entry.is_folder:
                yield from self._walk(folder / entry.name, f"{relative}{entry.name}/")
            else:
                yield ObjectInfo(relative + entry.name, entry.size, entry.modified)

    # -- writing

    @contextlib.contextmanager
    def _temporary_file(self, action: str) -> Generator[_Temporary]:
        """Open a temporary file, locked for as long as this block runs, and gone after it."""
        with storage_faults(self.url, action):
            temporary = self._claim()
        reached(Failpoint.TEMPORARY_CLAIMED)
        try:
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                self._disk.unlink(temporary.path)  # published by link: a second name; by replace: already gone
            with contextlib.suppress(OSError):  # a full disk fails the flush of what is thrown away
                temporary.file.close()

    def _check_temporary(self) -> None:
        """Refuse a ``.tmp`` that leads elsewhere: what lies there is swept."""
        if self._disk.leads_away(self._temporary):
            msg = f"{self.url}: {TEMPORARY} is a symbolic link; remove it, so that a folder can be made in its place."
            raise StorageError(msg)

    def _claim(self) -> _Temporary:
        self._check_temporary()
        self._make_folders(self._temporary)
        while True:
            path = self._temporary / f"{os.getpid()}-{uuid.uuid4().hex}"
            file = self._disk.claim(path)
            if file is not None:
                return _Temporary(path, file)
            # A sweep was faster than the lock: take another name.

    def _make_folders(self, folder: Path) -> None:
        """Make ``folder`` and its parents, and make their names last.

        A folder that is there may have been made by a process that died, or failed, before its name lasted. So this process
        sees to the name of each folder itself, once.
        """
        if not self._disk.is_folder(folder):
            self._lasting.clear()  # also where somebody has removed them meanwhile
        unsure: list[Path] = []
        probe = folder
        while probe not in self._lasting and (probe.is_relative_to(self._root) or not self._disk.is_folder(probe)):
            unsure.append(probe)
            probe = probe.parent
        if not unsure:
            return
        root_is_old = self._disk.is_folder(self._root)
        if self._seen and not root_is_old:  # not made anew: an archive would begin again in an empty place, with half a run in it
            msg = f"{self.url}: the root was there, and is gone; was it unmounted or deleted? Bring it back, then run again"
            raise StorageError(msg)
        self._disk.make_folder(folder)
        self._seen = True
        for made in unsure:
            if made != self._root or not root_is_old:  # above an old root nothing is ours, and it may not even be readable
                self._disk.sync_folder(made.parent)
        self._lasting.update(unsure)

    def _settle(self, temporary: _Temporary, target: Path) -> None:
        """Make the bytes last, and the folder that will name them."""
        reached(Failpoint.TEMPORARY_WRITTEN)
        temporary.file.sync()
        reached(Failpoint.TEMPORARY_SYNCED)
        self._make_folders(target.parent)

    def _settle_name(self, target: Path) -> None:
        """Make the name last."""
        reached(Failpoint.OBJECT_NAMED)
        self._disk.sync_folder(target.parent)
        reached(Failpoint.FOLDER_SYNCED)

    def _replace(self, path: str, temporary: _Temporary) -> None:
        target = self._place(path)
        with storage_faults(self.url, f"write {path}"):
            self._settle(temporary, target)
            self._disk.replace(temporary.path, target)
            self._settle_name(target)

    def _publish(self, path: str, temporary: _Temporary) -> None:
        """Give the temporary file its name, unless the name is taken."""
        target = self._place(path)
        with storage_faults(self.url, f"create {path}"):
            self._settle(temporary, target)
            try:
                self._disk.link(temporary.path, target)
            except FileExistsError:
                raise
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._publish_without_links(temporary.path, target)
            self._settle_name(target)

    def _publish_without_links(self, temporary: Path, target: Path) -> None:
        """Take turns instead: exclusive between all writers that share this root's locks."""
        with self._disk.alone(self._temporary / _CREATE_LOCK):
            try:
                self._disk.details(target)
            except FileNotFoundError:
                self._disk.replace(temporary, target)
            else:
                raise FileExistsError(target)

    def _refuse_stored(self, path: str) -> None:
        if self.exists(path):
            msg = f"{self.url}: did not create {path}: it is stored already"
            raise AlreadyStoredError(msg)

    def _write_all(self, temporary: _Temporary, data: bytes, action: str) -> None:
        with storage_faults(self.url, action):
            view = memoryview(data)
            while view:
                view = view[temporary.file.write(view) :]

    def write(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``."""
        checked_path(path)
        with self._temporary_file(f"write {path}") as temporary:
            self._write_all(temporary, data, f"write {path}")
            self._replace(path, temporary)

    def create(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``, if nothing is there."""
        checked_path(path)
        with self._temporary_file(f"create {path}") as temporary:
            self._write_all(temporary, data, f"create {path}")
            self._publish(path, temporary)

    def create_from(self, path: str, chunks: Iterator[bytes]) -> int:
        """Put what ``chunks`` yields at ``path``, if nothing is there."""
        self._refuse_stored(path)
        written = 0
        with self._temporary_file(f"create {path}") as temporary:
            for chunk in chunks:  # outside of storage_faults: what it raises passes through
                self._write_all(temporary, chunk, f"create {path}")
                reached(Failpoint.PART_STORED)
                written += len(chunk)
            self._publish(path, temporary)
        return written

    def put_file(self, path: str, local: Path) -> None:
        """Put a local file at ``path``."""
        checked_path(path)
        with self._temporary_file(f"write {path}") as temporary:
            with storage_faults(self.url, f"copy {local.name} to {path}"), local.open("rb") as source:
                while chunk := source.read(_COPY_BYTES):
                    self._write_all(temporary, chunk, f"write {path}")
            self._replace(path, temporary)
            # Not before it has its name: a sweep opens what a dead process left in order to lock it, for writing.
            temporary.file.protect()

    def delete(self, path: str) -> None:
        """Remove an object."""
        target = self._place(path)
        with storage_faults(self.url, f"delete {path}"):
            try:
                self._disk.unlink(target)
            except (FileNotFoundError, NotADirectoryError):
                return
            self._disk.sync_folder(target.parent)

    def settle(self, folder: str) -> None:
        """Make the names in ``folder`` last."""
        place = self._place(folder)
        with storage_faults(self.url, f"read {folder}"):
            if self._disk.is_folder(place):
                self._make_folders(place)
                self._disk.sync_folder(place)

    def sweep(self, alive: Alive | None = None) -> int:  # noqa: ARG002 - the lock knows better than a process id
        """Remove the temporary files whose lock nobody holds; ``alive`` is not needed."""
        removed = 0
        with storage_faults(self.url, f"sweep {TEMPORARY}"):
            self._check_temporary()
            if not self._disk.is_folder(self._temporary):
                return 0
            for name in sorted(entry.name for entry in self._disk.entries(self._temporary)):
                if name != _CREATE_LOCK and self._disk.remove_abandoned(self._temporary / name):
                    removed += 1
        return removed
