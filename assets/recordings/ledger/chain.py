"""The audit trail: every event file names the hash of the file that its writer wrote before it.

A writer is one :class:`~assets.recordings.ledger.Ledger` of one process. What it knows of its last file goes into the next one,
as key-value metadata of the Parquet file: a file that is edited or removed later no longer fits its successor. Each file also
holds its own path, and a short digest of each of its rows, so that a changed row can be named.

This finds accidents and edits by hand. Who can write to the root and knows this format can write a chain of his own; only storage
that refuses to change objects (S3 Object Lock, a read-only copy of the manifests) stands against that.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from assets.recordings.ledger.digests import digests_of

METADATA_KEY = b"recording_archive.chain"
_LOOKED_FOR = ["provider", "date", "execution_id"]
"""Columns by which readers leave files out."""


class ChainLink(msgspec.Struct, frozen=True):
    """What an event file says of itself.

    Attributes:
        writer: the writer's own id.
        number: 1 for the first file of the writer.
        path: of this file, relative to the archive root: a copy under another name is found by it.
        previous: path of the writer's file before it; empty for the first.
        previous_sha256: of the bytes of that file; empty for the first.
        rows: a digest of each row, in their order.
    """

    writer: str
    number: int
    path: str
    previous: str
    previous_sha256: str
    rows: tuple[str, ...]


@dataclass(slots=True)
class Chain:
    """The writer's end of a chain. Not thread-safe: its ledger takes turns."""

    writer: str = field(default_factory=lambda: uuid.uuid4().hex)
    number: int = 0
    last_path: str = ""
    last_sha256: str = ""

    def encode(self, path: str, table: pa.Table, digests: Sequence[str]) -> bytes:
        """Return the Parquet file of ``table`` as the next one of this chain. Nothing is remembered before :meth:`written`.

        Args:
            path: where the file will lie.
            table: the events.
            digests: of its rows, in their order; see :mod:`assets.recordings.ledger.digests`.
        """
        link = ChainLink(self.writer, self.number + 1, path, self.last_path, self.last_sha256, tuple(digests))
        sink = pa.BufferOutputStream()
        # Small, many and short-lived: zstd and dictionaries would take three times as long as all the rest, and Arrow's own
        # account of the schema, which says nothing that Parquet does not, a tenth of every reading.
        options: dict[str, Any] = {"compression": "lz4", "use_dictionary": False, "store_schema": False}
        with pq.ParquetWriter(sink, table.schema, write_statistics=_LOOKED_FOR, **options) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({METADATA_KEY.decode(): msgspec.json.encode(link).decode()})
        return sink.getvalue().to_pybytes()

    def written(self, path: str, data: bytes) -> None:
        """Go on from the file that has been stored."""
        self.number += 1
        self.last_path, self.last_sha256 = path, sha256_of(data)


@dataclass(frozen=True, slots=True)
class EventFile:
    """An event file as it lies in the root.

    Attributes:
        path: relative to the archive root.
        sha256: of its bytes.
        link: what it says of itself; None where it says nothing, or nothing that can be read.
        table: its rows, in the columns that it has; None where it is no Parquet file.
        digests: of the rows as they are now, in their order.
    """

    path: str
    sha256: str
    link: ChainLink | None
    table: pa.Table | None
    digests: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...] | None:
        """Its rows; None where it is no Parquet file."""
        return tuple(self.table.to_pylist()) if self.table is not None else None

    @property
    def is_own(self) -> bool:
        """Whether it is what its writer wrote, as far as it can tell by itself: its own path, its own rows in their order."""
        link = self.link
        return (
            link is not None
            and link.path == self.path
            and self.table is not None
            and link.rows == self.digests
            and (link.number == 1) == (not link.previous)
        )

    @property
    def genuine_rows(self) -> list[Mapping[str, Any]]:
        """The rows that the writer wrote as they are."""
        return self._sorted_out()[0]

    @property
    def strange_rows(self) -> list[Mapping[str, Any]]:
        """The rows that the writer did not write as they are, or not so often."""
        return self._sorted_out()[1]

    @property
    def lost_rows(self) -> int:
        """How many of the writer's rows are not there as it wrote them."""
        if self.link is None or self.table is None:
            return 0
        return (Counter(self.link.rows) - Counter(self.digests)).total()

    def _sorted_out(self) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        genuine: list[Mapping[str, Any]] = []
        strange: list[Mapping[str, Any]] = []
        expected = Counter(self.link.rows if self.link is not None and self.link.path == self.path else ())
        for row, digest in zip(self.rows or (), self.digests, strict=True):
            (genuine if expected[digest] > 0 else strange).append(row)
            expected[digest] -= 1
        return genuine, strange


def read_event_file(path: str, data: bytes) -> EventFile:
    """Take an event file apart; never raises: what cannot be read is None."""
    digest = sha256_of(data)
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
        digests = tuple(digests_of(table))
    except (pa.ArrowException, msgspec.MsgspecError, OSError, ValueError, TypeError, OverflowError):
        return EventFile(path, digest, None, None)
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    try:
        link = msgspec.json.decode(metadata.get(METADATA_KEY, b""), type=ChainLink)
    except msgspec.MsgspecError:
        link = None
    return EventFile(path, digest, link, table, digests)


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of ``data``, lower-case hex."""
    return hashlib.sha256(data).hexdigest()
