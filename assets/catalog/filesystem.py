"""The archive root as DuckDB sees it from this process: the lake's files under ``archive://``, to be read and nothing else.

DuckDB's own clients for S3, Google Cloud Storage and Azure are extensions that it would download; here it reads through the
storage that is open already. What this filesystem cannot do, no SQL can: it has no way to write, and shows the lake alone.
"""

from __future__ import annotations

import fnmatch
import io
import re
import threading
from datetime import datetime
from typing import Any, BinaryIO

import duckdb
from fsspec import AbstractFileSystem

from resources.storage import ArchiveStorage
from resources.storage.archive import ObjectInfo

PROTOCOL = "archive"
ROOT = f"{PROTOCOL}://root"
"""What the views take for the archive root when they are asked through this filesystem."""
_VISIBLE = "lake/"
_BLOCK_BYTES = 1024 * 1024
_PATTERN = re.compile(r"[*?\[]")


class LakeFileSystem(AbstractFileSystem):
    """Read-only; paths are those of the archive, below ``archive://``."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, storage: ArchiveStorage) -> None:
        """Show the lake of ``storage``."""
        super().__init__()
        self._storage = storage
        self._known: dict[str, ObjectInfo] = {}

    def glob(self, path: str, *_: Any, **options: Any) -> list[str]:  # noqa: ANN401, ARG002 -- as fsspec has it
        """Return the files that a pattern matches; a name without a pattern is taken at its word, without asking the storage."""
        name = _relative(path)
        literal = _PATTERN.split(name, maxsplit=1)[0]
        if literal == name:
            return [f"{ROOT}/{name}"]
        matching = re.compile(fnmatch.translate(name).replace(".*", "[^/]*"))
        listed = self._storage.list(literal.rpartition("/")[0])
        return [f"{ROOT}/{info.path}" for info in listed if matching.match(info.path)]

    def info(self, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401, ARG002 -- as fsspec has it
        """Return size and time of a file."""
        found = self._info(path)
        return {"name": path, "size": found.size, "type": "file", "modified": found.modified}

    def modified(self, path: str) -> datetime:
        """Return when a file was written."""
        return self._info(path).modified

    def open(self, path: str, mode: str = "rb", *_: Any, **options: Any) -> Any:  # noqa: ANN401, ARG002 -- as fsspec has it
        """Open a file for reading.

        Raises:
            PermissionError: to write it.
        """
        if mode != "rb":
            msg = f"{path} is a part of the archive, and is read only"
            raise PermissionError(msg)
        return _Reading(self._storage.open(_relative(path), block_bytes=_BLOCK_BYTES))

    def _info(self, path: str) -> ObjectInfo:
        name = _relative(path)
        if name not in self._known:  # DuckDB asks several times, and no file of the lake that it reads changes under its name
            self._known[name] = self._storage.info(name)
        return self._known[name]


class _Reading(io.RawIOBase):
    """A file that several threads of DuckDB read at once, closed when it is let go of: DuckDB does not close all that it opens.

    DuckDB goes to a place and then reads there, in two calls, from any thread, on one handle. So a place that a thread went to is
    that thread's own until it has read there; who reads without having gone anywhere goes on where the last reading ended.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._reading = threading.Lock()
        self._thread = threading.local()

    def read(self, size: int = -1, /) -> bytes:
        """Return the bytes at this thread's place."""
        with self._reading:
            place = self._place
            if place is not None:
                self._source.seek(place)
                self._place = None
            return self._source.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place, for the next reading of this thread."""
        if whence == io.SEEK_CUR:
            offset += self.tell()
        elif whence == io.SEEK_END:
            with self._reading:
                last = self._source.tell()
                offset = self._source.seek(offset, whence)
                self._source.seek(last)
        self._place = offset
        return offset

    def tell(self) -> int:
        """Return the place of the next reading."""
        return self._source.tell() if self._place is None else self._place

    def close(self) -> None:
        """Close the file."""
        self._source.close()
        super().close()

    @property
    def _place(self) -> int | None:
        return getattr(self._thread, "place", None)

    @_place.setter
    def _place(self, place: int | None) -> None:
        self._thread.place = place


def mount(connection: duckdb.DuckDBPyConnection, storage: ArchiveStorage) -> None:
    """Let a connection read the lake of ``storage``, and the views of a catalog find it there, wherever it was published."""
    connection.register_filesystem(LakeFileSystem(storage))
    connection.execute(f"SET VARIABLE archive_root = '{ROOT}'")


def _relative(path: str) -> str:
    root, _, name = path.partition(f"{ROOT}/")
    if root or not name.startswith(_VISIBLE):
        raise FileNotFoundError(path)
    return name
