"""The archive on a local (or mounted) disk.

A write goes to ``.tmp/``, is fsynced, and gets its name by ``os.replace`` or, where nothing may be replaced, by ``os.link``,
which the file system refuses if the name is taken. Then the folder is fsynced, and every folder that had to be made.

The owner of a temporary file holds an ``flock`` on it for as long as it lives. The kernel lets go of that lock when the process
dies, however it dies, so :meth:`LocalStorage.sweep` takes exactly the files whose lock it can get: no process ids that are used
again, no clocks, and on NFS it holds between hosts too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from resources.errors import AlreadyStoredError, StorageError
from resources.storage.archive import Alive, ArchiveStorage, FileSystem, ObjectInfo
from resources.storage.faults import storage_faults
from resources.storage.paths import TEMPORARY, checked_path, checked_prefix

_COPY_BYTES = 1024 * 1024
_FILE_MODE = 0o666  # as open() does: the umask decides
_CREATE_LOCK = "create.lock"
# File systems that cannot link at all (exFAT, some FUSE and SMB mounts) say one of these.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_OURS = frozenset({stat.S_IFREG, stat.S_IFDIR})
# flock on a file system without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class _Temporary:
    path: Path
    file: BinaryIO


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse fsync of a folder; they have nothing to lose
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(folder: Path) -> None:
    """Make ``folder`` and its parents, and make their names last."""
    missing: list[Path] = []
    probe = folder
    while not probe.is_dir():
        missing.append(probe)
        probe = probe.parent
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_folder(made.parent)


def _kind_of(place: Path) -> int | None:
    """Return the kind of what lies at ``place`` itself (``stat.S_IFREG``, ...), or None where nothing does."""
    try:
        return stat.S_IFMT(place.lstat().st_mode)
    except OSError:  # nothing there; or what is asked for next says why not
        return None


class _Lock(Enum):
    TAKEN = "taken"
    HELD_ELSEWHERE = "held elsewhere"
    NOT_SUPPORTED = "not supported"


def _lock(descriptor: int) -> _Lock:
    """Try to take the lock of a temporary file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Lock.HELD_ELSEWHERE
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return _Lock.NOT_SUPPORTED
        raise
    return _Lock.TAKEN


def _is_at(descriptor: int, path: Path) -> bool:
    """Say whether the open file is still the one at ``path``."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


class LocalStorage(ArchiveStorage):
    """Objects are files below a folder."""

    def __init__(self, url: str, filesystem: FileSystem, root: Path) -> None:
        """Stand on the folder ``root``, which is made by the first write."""
        super().__init__(url, filesystem, str(root))
        self._root = root
        self._temporary = root / TEMPORARY

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
            kind = _kind_of(place)
            if kind is None:
                break
            if kind not in _OURS:
                relative = place.relative_to(self._root)
                msg = (
                    f"{self.url}: {relative} is a symbolic link, a pipe or a device; none is followed inside an archive. "
                    "Put what it leads to in its place, or mount it there."
                )
                raise StorageError(msg)
        return self._root / path

    # -- reading

    def read(self, path: str) -> bytes:
        """Return an object's bytes."""
        with storage_faults(self.url, f"read {path}", reading=True):
            return self._place(path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        """Open an object for reading."""
        with storage_faults(self.url, f"open {path}", reading=True):
            return self._place(path).open("rb")

    def info(self, path: str) -> ObjectInfo:
        """Return size and time of an object."""
        self._place(path)
        return super().info(path)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield all objects below ``prefix``, a folder at a time."""
        folder = checked_prefix(prefix)
        if folder:
            self._place(folder)
        with storage_faults(self.url, f"list {folder or 'the root'}"):
            yield from self._walk(self.local_path(folder), f"{folder}/" if folder else "")

    def _walk(self, folder: Path, relative: str) -> Iterator[ObjectInfo]:
        try:
            with os.scandir(folder) as found:
                # A folder sorts as its paths do: with the slash behind its name.
                ours = [entry for entry in found if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)]
                entries = sorted((f"{entry.name}/" if entry.is_dir() else entry.name, entry) for entry in ours)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, entry in entries:
            if not relative and name.rstrip("/").lower() == TEMPORARY:
                continue
            if name.endswith("/"):
                yield from self._walk(Path(entry.path), relative + name)
                continue
            try:
                details = entry.stat()
            except FileNotFoundError:  # deleted while we walk
                continue
            yield ObjectInfo(relative + name, details.st_size, datetime.fromtimestamp(details.st_mtime, tz=UTC))

    # -- writing

    @contextlib.contextmanager
    def _temporary_file(self, action: str) -> Generator[_Temporary]:
        """Open a temporary file, locked for as long as this block runs, and gone after it."""
        with storage_faults(self.url, action):
            temporary = self._claim()
        try:
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                temporary.path.unlink()  # published by link: a second name; by replace: already gone
            with contextlib.suppress(OSError):  # a full disk fails the flush of what is thrown away
                temporary.file.close()

    def _check_temporary(self) -> None:
        """Refuse a ``.tmp`` that leads elsewhere: what lies there is swept."""
        if self._temporary.is_symlink():
            msg = f"{self.url}: {TEMPORARY} is a symbolic link; remove it, so that a folder can be made in its place."
            raise StorageError(msg)

    def _claim(self) -> _Temporary:
        self._check_temporary()
        _make_folders(self._temporary)
        while True:
            path = self._temporary / f"{os.getpid()}-{uuid.uuid4().hex}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
            if _lock(descriptor) is not _Lock.HELD_ELSEWHERE and _is_at(descriptor, path):
                return _Temporary(path, os.fdopen(descriptor, "wb", buffering=0))
            os.close(descriptor)  # a sweep was faster than the lock: take another name

    def _settle(self, temporary: _Temporary, target: Path) -> None:
        """Make the bytes last, and the folder that will name them."""
        os.fsync(temporary.file.fileno())
        _make_folders(target.parent)

    def _replace(self, path: str, temporary: _Temporary) -> None:
        target = self._place(path)
        with storage_faults(self.url, f"write {path}"):
            self._settle(temporary, target)
            temporary.path.replace(target)
            _sync_folder(target.parent)

    def _publish(self, path: str, temporary: _Temporary) -> None:
        """Give the temporary file its name, unless the name is taken."""
        target = self._place(path)
        with storage_faults(self.url, f"create {path}"):
            self._settle(temporary, target)
            try:
                os.link(temporary.path, target)
            except FileExistsError:
                raise
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._publish_without_links(temporary.path, target)
            _sync_folder(target.parent)

    def _publish_without_links(self, temporary: Path, target: Path) -> None:
        """Take turns instead: exclusive between all writers that share this root's locks."""
        with (self._temporary / _CREATE_LOCK).open("wb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if target.exists():
                raise FileExistsError(target)
            temporary.replace(target)

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
        self._refuse_stored(path)
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

    def delete(self, path: str) -> None:
        """Remove an object."""
        target = self._place(path)
        with storage_faults(self.url, f"delete {path}"):
            try:
                target.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            _sync_folder(target.parent)

    def sweep(self, alive: Alive | None = None) -> int:  # noqa: ARG002 - the lock knows better than a process id
        """Remove the temporary files whose lock nobody holds; ``alive`` is not needed."""
        removed = 0
        with storage_faults(self.url, f"sweep {TEMPORARY}"):
            self._check_temporary()
            if not self._temporary.is_dir():
                return 0
            for path in sorted(self._temporary.iterdir()):
                if path.name != _CREATE_LOCK and self._sweep_one(path):
                    removed += 1
        return removed

    def _sweep_one(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # NFS locks only what is open for writing
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            return False
        try:
            if _lock(descriptor) is not _Lock.TAKEN or not _is_at(descriptor, path):
                return False
            path.unlink()
            return True
        finally:
            os.close(descriptor)
