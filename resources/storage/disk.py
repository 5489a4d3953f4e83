"""What the archive asks of a disk: a handful of system calls, behind one seam.

:class:`SystemDisk` is the operating system. The simulator puts a disk there that loses, at a power cut, whatever was not synced,
so that the order of the calls in :mod:`resources.storage.local` is tested and not only read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Protocol

_FILE_MODE = 0o666  # as open() does: the umask decides
_READ_ONLY = 0o444
_OURS = frozenset({stat.S_IFREG, stat.S_IFDIR})
# flock on a file system without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies in a folder.

    Attributes:
        name: without its folder.
        is_folder: True for a folder.
        size: bytes; 0 for a folder.
        modified: UTC time of the last change.
    """

    name: str
    is_folder: bool
    size: int
    modified: datetime


class NewFile(Protocol):
    """A file that was made for writing, and is locked while its process lives."""

    def write(self, data: memoryview) -> int:
        """Write a part of ``data`` and return how many bytes it was."""
        ...

    def sync(self) -> None:
        """Make what was written last."""
        ...

    def protect(self) -> None:
        """Let the file's mode allow nobody to write, whatever name it has by now; nothing where the file system has no modes."""
        ...

    def close(self) -> None:
        """Let go of the file and its lock."""
        ...


class Disk(Protocol):
    """The calls. All raise OSError as the operating system does."""

    def claim(self, path: Path) -> NewFile | None:
        """Make a new file and lock it; None when a sweep took it before the lock did."""
        ...

    def remove_abandoned(self, path: Path) -> bool:
        """Remove a file whose lock nobody holds, and say whether it was one."""
        ...

    @contextlib.contextmanager
    def alone(self, path: Path) -> Generator[None]:
        """Hold the lock of ``path`` (which is made) while the block runs, waiting for it."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name, if that is free."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another name, also if that is taken."""
        ...

    def unlink(self, path: Path) -> None:
        """Take a name away."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder last."""
        ...

    def is_folder(self, path: Path) -> bool:
        """Say whether there is a folder."""
        ...

    def leads_away(self, path: Path) -> bool:
        """Say whether there is a symbolic link, a pipe or a device: anything but a file or a folder."""
        ...

    def details(self, path: Path) -> Entry:
        """Return what is at ``path``."""
        ...

    def entries(self, path: Path) -> list[Entry]:
        """Return the files and folders in a folder, in any order; what leads away is none."""
        ...

    def read(self, path: Path) -> bytes:
        """Return a file's bytes."""
        ...

    def open(self, path: Path) -> BinaryIO:
        """Open a file for reading."""
        ...


class _Lock(Enum):
    TAKEN = "taken"
    HELD_ELSEWHERE = "held elsewhere"
    NOT_SUPPORTED = "not supported"


def _lock(descriptor: int) -> _Lock:
    """Try to take the lock of a file."""
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


@dataclass(frozen=True, slots=True)
class _SystemFile:
    file: BinaryIO

    def write(self, data: memoryview) -> int:
        return self.file.write(data)

    def sync(self) -> None:
        os.fsync(self.file.fileno())

    def protect(self) -> None:
        descriptor = self.file.fileno()
        with contextlib.suppress(OSError):  # exFAT and some mounts keep no modes
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & _READ_ONLY)

    def close(self) -> None:
        self.file.close()


class SystemDisk:
    """The operating system."""

    def claim(self, path: Path) -> NewFile | None:
        """Make a new file and lock it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        if _lock(descriptor) is not _Lock.HELD_ELSEWHERE and _is_at(descriptor, path):
            return _SystemFile(os.fdopen(descriptor, "wb", buffering=0))
        os.close(descriptor)
        return None

    def remove_abandoned(self, path: Path) -> bool:
        """Remove a file whose lock nobody holds."""
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

    @contextlib.contextmanager
    def alone(self, path: Path) -> Generator[None]:
        """Hold the lock of ``path`` while the block runs."""
        with path.open("wb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        os.link(source, target)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another name."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Take a name away."""
        path.unlink()

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents."""
        path.mkdir(parents=True, exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder last."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # some network file systems refuse fsync of a folder; they have nothing to lose
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def is_folder(self, path: Path) -> bool:
        """Say whether there is a folder."""
        return path.is_dir()

    def leads_away(self, path: Path) -> bool:
        """Say whether there is anything but a file or a folder."""
        try:
            return stat.S_IFMT(path.lstat().st_mode) not in _OURS
        except OSError:  # nothing there; or what is asked for next says why not
            return False

    def details(self, path: Path) -> Entry:
        """Return what is at ``path``."""
        return _entry(path.name, path.stat(), is_folder=path.is_dir())

    def entries(self, path: Path) -> list[Entry]:
        """Return the files and folders in a folder."""
        listed: list[Entry] = []
        with os.scandir(path) as found:
            for each in found:
                is_folder = each.is_dir(follow_symlinks=False)
                if is_folder or each.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # deleted while we look
                        listed.append(_entry(each.name, each.stat(follow_symlinks=False), is_folder=is_folder))
        return listed

    def read(self, path: Path) -> bytes:
        """Return a file's bytes."""
        return path.read_bytes()

    def open(self, path: Path) -> BinaryIO:
        """Open a file for reading."""
        return path.open("rb")


def _entry(name: str, found: os.stat_result, *, is_folder: bool) -> Entry:
    size = 0 if is_folder else found.st_size
    return Entry(name, is_folder, size, datetime.fromtimestamp(found.st_mtime, tz=UTC))
