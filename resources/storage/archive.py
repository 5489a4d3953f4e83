"""What an archive storage can do, whatever it stands on.

Two promises hold for every backend: an object is visible whole or not at all, and :meth:`ArchiveStorage.create` and
:meth:`ArchiveStorage.create_from` never replace an object. fsspec alone keeps neither: an exception inside
``with fs.open(path, "wb")`` leaves a visible, partial object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from resources.errors import NotStoredError, StorageError
from resources.storage.faults import storage_faults
from resources.storage.owner import Alive
from resources.storage.paths import checked_path


class FileSystem(Protocol):
    """The part of fsspec's AbstractFileSystem that the archive uses; fsspec brings no types of its own."""

    def open(self, path: str, mode: str = "rb", block_size: int | None = None) -> BinaryIO:
        """Open a file."""
        ...

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return a file's bytes."""
        ...

    def pipe_file(self, path: str, value: bytes) -> object:
        """Write a file."""
        ...

    def exists(self, path: str) -> bool:
        """Say whether something is there."""
        ...

    def info(self, path: str) -> Mapping[str, object]:
        """Return name, size and type, and a time under a name that differs from backend to backend."""
        ...

    def find(self, path: str, *, detail: bool) -> Mapping[str, Mapping[str, object]]:
        """List all files below a folder."""
        ...

    def makedirs(self, path: str, *, exist_ok: bool) -> None:
        """Make a folder and its parents."""
        ...

    def mv(self, path1: str, path2: str) -> None:
        """Move a file."""
        ...

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class ObjectInfo:
    """One stored object.

    Attributes:
        path: relative to the root.
        size: bytes.
        modified: UTC time of the last change, by the storage's clock.
    """

    path: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that ``doctor`` tried on the root.

    Attributes:
        name: what was tried, in a few words.
        error: what went wrong, with the remedy; None where it worked.
    """

    name: str
    error: StorageError | None = None

    @property
    def passed(self) -> bool:
        """Whether it worked."""
        return self.error is None


_TIME_FIELDS = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def modified_of(details: Mapping[str, object]) -> datetime:
    """Return the time of the last change from fsspec's ``info``; the epoch where the backend keeps none."""
    for name in _TIME_FIELDS:
        value = details.get(name)
        if isinstance(value, datetime):
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, tz=UTC)
        if isinstance(value, str):
            try:
                parsed = datetime.fromisoformat(value)
            except ValueError:
                continue
            return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return _EPOCH


def size_of(details: Mapping[str, object]) -> int:
    """Return the size in bytes from fsspec's ``info``."""
    size = details.get("size")
    return int(size) if isinstance(size, int | float) else 0


class ArchiveStorage(ABC):
    """Objects below one root. Safe to use from several threads, and from several processes at once.

    Attributes:
        url: the root without any secret, fit for messages.
    """

    def __init__(self, url: str, filesystem: FileSystem, base: str) -> None:
        """Stand on ``filesystem`` below ``base``, its own spelling of the root without a trailing slash."""
        self.url = url
        self._filesystem = filesystem
        self._base = base

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def filesystem(self) -> FileSystem:
        """The fsspec filesystem for readers such as ``pyarrow.dataset``, with listing caches off. Never write through it."""
        return self._filesystem

    def full_path(self, path: str = "") -> str:
        """Return ``path`` as :attr:`filesystem` spells it; ``""`` is the root."""
        return f"{self._base}/{checked_path(path)}" if path else self._base

    def _key(self, path: str) -> str:
        """Return an object's path as :attr:`filesystem` spells it; unlike :meth:`full_path`, never the root."""
        return f"{self._base}/{checked_path(path)}"

    def local_path(self, path: str = "") -> Path | None:
        """Return the place on the local disk, or None where the storage is not one; ``""`` is the root."""
        if path:
            checked_path(path)
        return None

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words where the archive is, without secrets."""

    # -- reading: through fsspec, everywhere the same

    def read(self, path: str) -> bytes:
        """Return an object's bytes.

        Raises:
            NotStoredError: there is none.
            StorageError: the root failed.
        """
        with storage_faults(self.url, f"read {path}", reading=True):
            return bytes(self._filesystem.cat_file(self._key(path)))

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes ``start <= position < end`` of an object, fewer where it ends before.

        Raises:
            NotStoredError, StorageError: as :meth:`read`.
        """
        if not 0 <= start <= end:
            msg = f"a range runs forward from 0, not {start}..{end}"
            raise ValueError(msg)
        end = min(end, self.info(path).size)  # a range that starts beyond the end is an error on S3, and none on disk
        if start >= end:
            return b""
        with storage_faults(self.url, f"read {path}", reading=True):
            return bytes(self._filesystem.cat_file(self._key(path), start=start, end=end))

    def open(self, path: str, *, block_bytes: int | None = None) -> BinaryIO:
        """Open an object for reading, with seek.

        Args:
            path: which.
            block_bytes: how much is fetched at a time, for readers that jump; None leaves it to the backend (s3fs: 50 MiB).

        Raises:
            NotStoredError, StorageError: as :meth:`read`.
        """
        with storage_faults(self.url, f"open {path}", reading=True):
            return self._filesystem.open(self._key(path), "rb", block_size=block_bytes)

    def info(self, path: str) -> ObjectInfo:
        """Return size and time of an object.

        Raises:
            NotStoredError, StorageError: as :meth:`read`.
        """
        with storage_faults(self.url, f"look at {path}", reading=True):
            details = self._filesystem.info(self._key(path))
            if details.get("type") == "directory":
                raise FileNotFoundError(path)
        return ObjectInfo(path, size_of(details), modified_of(details))

    def exists(self, path: str) -> bool:
        """Say whether there is an object; a folder is none.

        Raises:
            StorageError: the root cannot be asked.
        """
        try:
            self.info(path)
        except NotStoredError:
            return False
        return True

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield all objects below the folder ``prefix``, sorted by path; none where there is no such folder.

        Raises:
            StorageError: the root cannot be listed.
        """

    # -- writing: each backend in its own way

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``, replacing what is there in one step.

        Raises:
            StorageError: nothing was changed.
        """

    @abstractmethod
    def create(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``, if nothing is there.

        Raises:
            AlreadyStoredError: an object is there; it is unchanged.
            StorageError: nothing was changed.
        """

    @abstractmethod
    def create_from(self, path: str, chunks: Iterator[bytes]) -> int:
        """Put what ``chunks`` yields at ``path``, if nothing is there, without holding it in memory.

        Nothing is visible at ``path`` before the iterator has ended. An exception of the iterator passes through as it is, and
        leaves nothing behind: raising is how an iterator refuses a body.

        Returns:
            The bytes written.

        Raises:
            AlreadyStoredError: an object is there, before the first chunk is asked for, or after the last (a race).
            StorageError: the root failed; nothing is visible.
        """

    @abstractmethod
    def put_file(self, path: str, local: Path) -> None:
        """Put a local file at ``path``, replacing what is there in one step. On a disk nobody may write to it there, by its mode.

        Raises:
            StorageError: nothing was changed.
        """

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove an object; a missing one is fine.

        Raises:
            StorageError: it is still there.
        """

    def settle(self, folder: str) -> None:  # noqa: B027 - most storages promise it themselves
        """Make the names in ``folder`` outlast a power cut before something is built on them; nothing where they do.

        What a process wrote lasts before it goes on. But it is visible a moment earlier, and its writer may have died then.

        Raises:
            StorageError: the root failed.
        """

    @abstractmethod
    def sweep(self, alive: Alive | None = None) -> int:
        """Remove what dead processes left unfinished; what a living one is writing is never touched, however old it is.

        Args:
            alive: for backends that know an owner by its process; the default asks the operating system.

        Returns:
            How many temporary objects were removed.

        Raises:
            StorageError: the root failed; the rest stays for the next sweep.
        """

    def probe(self) -> list[Check]:
        """Try the root: write, read back, list, refuse a second writer, delete. Never raises; leaves nothing behind."""
        from resources.storage.probe import probe  # noqa: PLC0415 - the probe is written against this class

        return probe(self)
