"""What a publication has to know of each Parquet file of the lake: which columns it has, and how many rows.

Files never change under their names, so a footer is read once, by the first publication that sees the file. What was read is
kept in a small file beside the catalog: an aid, which may be deleted at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from resources.errors import NotStoredError, StorageError
from resources.storage import ArchiveStorage

FACTS = "catalog/files.json"
_READERS = 8
_FOOTER_BYTES = 64 * 1024
_SHAPE_DIGITS = 12


class FileFacts(msgspec.Struct, frozen=True, array_like=True):
    """Of one file: a digest of its columns' names and types, and its rows."""

    shape: str
    rows: int


@dataclass(slots=True)
class Facts:
    """The facts of the files that were asked for, from the former publication's notes and, for new files, from the footers."""

    storage: ArchiveStorage
    _known: dict[str, FileFacts] = field(default_factory=dict[str, FileFacts])
    _asked: set[str] = field(default_factory=set[str])
    _noted: frozenset[str] = frozenset()

    @classmethod
    def noted(cls, storage: ArchiveStorage) -> Facts:
        """Return what the former publication has noted; nothing where there is no note, or one that cannot be read."""
        try:
            known = msgspec.json.decode(storage.read(FACTS), type=dict[str, FileFacts])
        except (NotStoredError, msgspec.DecodeError, ValueError):
            known = {}
        return cls(storage, known, _noted=frozenset(known))

    @property
    def noted_paths(self) -> frozenset[str]:
        """The files that the note is about."""
        return self._noted

    def of(self, paths: Iterable[str]) -> Mapping[str, FileFacts]:
        """Return the facts of each file.

        Raises:
            StorageError: a file is gone or damaged; the message names it.
        """
        wanted = list(paths)
        new = [path for path in wanted if path not in self._known]
        if new:
            with ThreadPoolExecutor(_READERS) as readers:
                self._known.update(zip(new, readers.map(self._read, new), strict=True))
        self._asked.update(wanted)
        return {path: self._known[path] for path in wanted}

    def note(self) -> None:
        """Keep the facts of the files that were asked for, for the next publication.

        Raises:
            StorageError: the root failed; the next publication reads more footers.
        """
        if set(self._noted) != self._asked:
            kept = {path: self._known[path] for path in sorted(self._asked)}
            self.storage.write(FACTS, msgspec.json.encode(kept))
            self._noted = frozenset(kept)

    def schema(self, path: str) -> pa.Schema:
        """Return the columns of a file.

        Raises:
            StorageError: it is gone or damaged.
        """
        return self._footer(path)[0]

    def _read(self, path: str) -> FileFacts:
        schema, rows = self._footer(path)
        return FileFacts(shape_of(schema), rows)

    def _footer(self, path: str) -> tuple[pa.Schema, int]:
        with self.storage.open(path, block_bytes=_FOOTER_BYTES) as source:
            try:
                with pq.ParquetFile(source) as file:
                    return file.schema_arrow.remove_metadata(), file.metadata.num_rows
            except (pa.ArrowException, OSError) as error:
                msg = f"{path} in {self.storage.url} is damaged ({type(error).__name__}): see `recording-archive verify`"
                raise StorageError(msg) from None


def named_files(storage: ArchiveStorage) -> frozenset[str]:
    """Return the Parquet files that the published catalog names, and that have to stay as long as it does."""
    return Facts.noted(storage).noted_paths


def shape_of(schema: pa.Schema) -> str:
    """Return a digest of the names and types of columns, in their order."""
    return hashlib.sha256(str(schema.remove_metadata()).encode()).hexdigest()[:_SHAPE_DIGITS]
