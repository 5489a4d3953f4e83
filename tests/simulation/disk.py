"""A disk that keeps, over a power cut, only what was synced: the rest by chance.

POSIX promises no more. A file's bytes last from its fsync on, a name in a folder from the fsync of that folder on. What was not
synced may be there after a power cut, or not, or in part, in any combination. A name that moves is in one place or the other.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import BinaryIO, Protocol

from resources.storage.disk import Entry, NewFile


@dataclass(slots=True, eq=False)
class _File:
    data: bytearray
    modified: datetime
    synced: bytes | None = None
    owner: User | None = None


@dataclass(slots=True, eq=False)
class _Folder:
    modified: datetime
    names: dict[str, _Node] = field(default_factory=dict)
    lasting: dict[str, _Node] = field(default_factory=dict)
    pending: list[tuple[str, _Node | None]] = field(default_factory=list)

    def put(self, name: str, node: _Node | None) -> None:
        """Give a name to a node, or take it away."""
        if node is None:
            del self.names[name]
        else:
            self.names[name] = node
        self.pending.append((name, node))


_Node = _File | _Folder


class User(Protocol):
    """The process that uses the disk."""

    alive: bool

    def step(self) -> None:
        """Let time and others go on; raises when the process is dead."""
        ...


class Weather(Protocol):
    """Says whether a call fails, and when it is."""

    def disk_fault(self) -> int | None:
        """Return an errno, or None."""
        ...

    def moment(self) -> datetime:
        """Return the time of the disk's machine."""
        ...


@functools.lru_cache(maxsize=4096)
def _parts(path: Path, root: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts


class Platter:
    """The disk itself: shared by all processes, and the one thing that is left after a power cut."""

    def __init__(self, root: Path, rng: Random, now: datetime) -> None:
        self.root = root
        self._rng = rng
        self.top = _Folder(now)

    def node(self, path: Path) -> _Node:
        """Return what is at ``path``; raises as the operating system does."""
        node: _Node = self.top
        for part in _parts(path, self.root):
            if not isinstance(node, _Folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            if part not in node.names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            node = node.names[part]
        return node

    def folder(self, path: Path) -> _Folder:
        """Return the folder at ``path``."""
        node = self.node(path)
        if not isinstance(node, _Folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return node

    def file(self, path: Path) -> _File:
        """Return the file at ``path``."""
        node = self.node(path)
        if not isinstance(node, _File):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return node

    def cut_power(self) -> None:
        """Lose what was not synced, by chance."""
        self._settle(self.top)

    def _settle(self, folder: _Folder) -> None:
        lasting = dict(folder.lasting)
        for name, node in folder.pending:
            if self._rng.random() < 0.5:
                continue
            if node is None:
                lasting.pop(name, None)
            else:
                lasting[name] = node
        folder.names, folder.lasting, folder.pending = dict(lasting), lasting, []
        for node in lasting.values():
            if isinstance(node, _Folder):
                self._settle(node)
            else:
                node.owner = None
                node.data = bytearray(self._remains(node))
                node.synced = bytes(node.data)

    def _remains(self, file: _File) -> bytes:
        if file.synced == file.data:
            return file.synced
        whole = bytes(file.data)
        return self._rng.choice((b"", whole[: len(whole) // 2], b"\0" * len(whole), whole))

    def walk(self, path: Path | None = None) -> Generator[tuple[Path, bytes]]:
        """Yield every visible file below ``path``; for who checks, not for who runs."""
        start = path or self.root
        with contextlib.suppress(FileNotFoundError):
            for name, node in sorted(self.folder(start).names.items()):
                if isinstance(node, _Folder):
                    yield from self.walk(start / name)
                else:
                    yield start / name, bytes(node.data)


@dataclass(slots=True)
class _OpenFile:
    disk: ProcessDisk
    file: _File

    def write(self, data: memoryview) -> int:
        self.disk.touch()
        self.file.data += data
        return len(data)

    def sync(self) -> None:
        self.disk.touch()
        self.file.synced = bytes(self.file.data)

    def protect(self) -> None:
        """Do nothing: nobody writes here who should not."""

    def close(self) -> None:
        if self.disk.user.alive:
            self.file.owner = None


@dataclass(frozen=True, slots=True)
class ProcessDisk:
    """The disk as one process uses it; see :class:`resources.storage.disk.Disk`."""

    platter: Platter
    user: User
    weather: Weather

    def touch(self, *, reading: bool = False) -> None:
        """Count a call: others may run, the process may die, the disk may fail."""
        self.user.step()
        code = None if reading else self.weather.disk_fault()
        if code is not None:
            raise OSError(code, os.strerror(code))

    def claim(self, path: Path) -> NewFile | None:
        """Make a new file and lock it."""
        self.touch()
        folder = self.platter.folder(path.parent)
        if path.name in folder.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        file = _File(bytearray(), self.weather.moment(), owner=self.user)
        folder.put(path.name, file)
        return _OpenFile(self, file)

    def remove_abandoned(self, path: Path) -> bool:
        """Remove a file whose lock nobody holds."""
        self.touch()
        try:
            file = self.platter.file(path)
        except FileNotFoundError:
            return False
        if file.owner is not None and file.owner.alive:
            return False
        self.platter.folder(path.parent).put(path.name, None)
        return True

    def alone(self, path: Path) -> AbstractContextManager[None]:
        """Never needed: this disk can link."""
        raise AssertionError(path)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        self.touch()
        folder = self.platter.folder(target.parent)
        if target.name in folder.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        folder.put(target.name, self.platter.file(source))

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another name."""
        self.touch()
        file = self.platter.file(source)
        self.platter.folder(target.parent).put(target.name, file)
        self.platter.folder(source.parent).put(source.name, None)

    def unlink(self, path: Path) -> None:
        """Take a name away."""
        self.touch(reading=True)
        self.platter.file(path)
        self.platter.folder(path.parent).put(path.name, None)

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents."""
        self.touch()
        missing: list[Path] = []
        probe = path
        while not self._is_there(probe):
            missing.append(probe)
            probe = probe.parent
        for each in reversed(missing):
            self.platter.folder(each.parent).put(each.name, _Folder(self.weather.moment()))

    def _is_there(self, path: Path) -> bool:
        try:
            self.platter.folder(path)
        except FileNotFoundError:
            return False
        return True

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder last."""
        self.touch()
        if path not in self._above():
            folder = self.platter.folder(path)
            folder.lasting, folder.pending = dict(folder.names), []

    def _above(self) -> tuple[Path, ...]:
        return tuple(self.platter.root.parents)

    def is_folder(self, path: Path) -> bool:
        """Say whether there is a folder."""
        self.touch(reading=True)
        return path in self._above() or self._is_there(path)

    def leads_away(self, path: Path) -> bool:
        """Say no: there are only files and folders here."""
        del path
        return False

    def details(self, path: Path) -> Entry:
        """Return what is at ``path``."""
        self.touch(reading=True)
        return _entry(path.name, self.platter.node(path))

    def entries(self, path: Path) -> list[Entry]:
        """Return what is in a folder."""
        self.touch(reading=True)
        return [_entry(name, node) for name, node in self.platter.folder(path).names.items()]

    def read(self, path: Path) -> bytes:
        """Return a file's bytes."""
        self.touch(reading=True)
        return bytes(self.platter.file(path).data)

    def open(self, path: Path) -> BinaryIO:
        """Open a file for reading."""
        return io.BytesIO(self.read(path))


def _entry(name: str, node: _Node) -> Entry:
    size = len(node.data) if isinstance(node, _File) else 0
    return Entry(name, isinstance(node, _Folder), size, node.modified)
