"""Putting the catalog where analysts open it, so that nobody ever opens half of one.

On local disk ``archive.duckdb`` is replaced in one step; who has the old file open goes on reading it. By its mode nobody may
write to it, and a write-ahead log that somebody has left beside it all the same goes: DuckDB opens no file beside another's log.
On object storage, where a reader may come back for more of the same name, each version has a name of its own and a small pointer
says which is current.

The pointer also says, everywhere, which snapshots of the ledger the catalog stands on: the files that it names have to stay until
it has been replaced for a while.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import msgspec

from assets.catalog.build import build
from assets.catalog.facts import Facts
from assets.catalog.lanes import lane_of
from assets.recordings.compaction import fold
from assets.recordings.ledger import FoldReport, Ledger
from resources.errors import NotStoredError, StorageError
from resources.failpoints import Failpoint, reached
from resources.providers.protocol import ProviderSpec
from resources.redaction import redact
from resources.storage import ArchiveStorage
from resources.storage.faults import storage_faults

CATALOG_NAME = "archive.duckdb"
VERSIONS = "catalog"
POINTER = f"{VERSIONS}/current.json"
_LOGS = tuple(f"{CATALOG_NAME}.wal{ending}" for ending in ("", ".checkpoint", ".recovery"))
"""What DuckDB puts beside a file that it writes to; the catalog is never written to where it lies."""
_KEPT_VERSIONS = 3
_TRIES = 4
_PIECE_BYTES = 8 * 1024 * 1024


class Pointer(msgspec.Struct, frozen=True):
    """What ``catalog/current.json`` says.

    Attributes:
        path: of the current version, relative to the archive root.
        bytes: its length.
        published_at: UTC.
        generations: the snapshot of each provider's ledger that it names the files of.
    """

    path: str
    bytes: int
    published_at: datetime
    generations: dict[str, int] = msgspec.field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Publication:
    """What a publication made: where, how large (bytes), rows, the folds before it, and the snapshots that it shows."""

    path: str
    bytes: int
    rows: dict[str, int]
    folds: tuple[FoldReport, ...]
    generations: dict[str, int]


def publish(storage: ArchiveStorage, specs: Iterable[ProviderSpec], now: datetime) -> Publication:
    """Fold the ledger, build the catalog and put it in place. Safe beside writers, readers and another publication.

    What killed processes left below ``.tmp/`` is swept first.

    Raises:
        StorageError: the lake cannot be read or the root cannot be written; the former catalog stays.
    """
    specs = tuple(specs)
    with contextlib.suppress(StorageError):  # tidying up is no reason to fail: what is wrong with the root shows soon
        storage.sweep()
    for _ in range(_TRIES - 1):
        publication = _publish_once(storage, specs, now)
        # Another publication may have folded and put a newer catalog meanwhile, which ours has replaced; or many have, and
        # have removed ours as an old one before the pointer named it. Then once more.
        if _generations(storage, specs) == publication.generations and storage.exists(publication.path):
            return publication
    return _publish_once(storage, specs, now)


def _publish_once(storage: ArchiveStorage, specs: Sequence[ProviderSpec], now: datetime) -> Publication:
    ledger = Ledger(storage)
    folds = tuple(fold(ledger, spec.name) for spec in specs)
    lanes = [lane_of(ledger, spec) for spec in specs]
    facts = Facts.noted(storage)
    with tempfile.TemporaryDirectory(prefix="recording-archive-") as folder:
        built = Path(folder) / CATALOG_NAME
        report = build(built, storage, lanes, facts, now)
        if built.with_name(f"{CATALOG_NAME}.wal").exists():
            msg = f"the catalog was not closed cleanly in {folder}: a write-ahead log is left. The former catalog stays."
            raise StorageError(msg)
        generations = {lane.spec.name: lane.snapshot.generation for lane in lanes}
        pointer = _put(storage, built, now, generations)
    with contextlib.suppress(StorageError):  # the next publication reads more footers then
        facts.note()
    return Publication(pointer.path, pointer.bytes, report.rows, folds, generations)


def _generations(storage: ArchiveStorage, specs: Sequence[ProviderSpec]) -> dict[str, int]:
    return {spec.name: Ledger(storage).generation(spec.name) for spec in specs}


def _put(storage: ArchiveStorage, built: Path, now: datetime, generations: dict[str, int]) -> Pointer:
    reached(Failpoint.CATALOG_BUILT)
    is_local = storage.local_path(CATALOG_NAME) is not None
    path = CATALOG_NAME if is_local else f"{VERSIONS}/archive-{now:%Y%m%dT%H%M%S}-{uuid4().hex[:12]}.duckdb"
    pointer = Pointer(path, built.stat().st_size, now, generations)
    if is_local:
        # Before, so that the new file never lies beside the log of the old one; and after, for what was begun in between.
        _remove_logs(storage)
    storage.put_file(path, built)
    reached(Failpoint.CATALOG_PUT)
    if is_local:
        _remove_logs(storage)
    storage.write(POINTER, msgspec.json.encode(pointer))
    reached(Failpoint.CATALOG_POINTED)
    # By the storage's clock: who was slow has an early time in the name of what is pointed to now.
    versions = sorted((info.modified, info.path) for info in storage.list(VERSIONS) if info.path.endswith(".duckdb"))
    for _, old in versions[:-_KEPT_VERSIONS]:
        if old != path:
            storage.delete(old)
    return pointer


def _remove_logs(storage: ArchiveStorage) -> None:
    for path in _LOGS:
        storage.delete(path)


def current(storage: ArchiveStorage) -> Pointer | None:
    """Return what the pointer says; None where no catalog was published, or none since there are pointers.

    Raises:
        StorageError: the pointer is damaged; the next publication makes it anew.
    """
    try:
        return msgspec.json.decode(storage.read(POINTER), type=Pointer)
    except NotStoredError:
        return None
    except (msgspec.DecodeError, ValueError) as error:
        msg = f"{POINTER} in {storage.url} is damaged ({redact(str(error))}): launch the catalog asset, which makes it anew"
        raise StorageError(msg) from None


def shown_generations(storage: ArchiveStorage) -> dict[str, int]:
    """Return the snapshot of each provider's ledger that the published catalog shows; none where there is no catalog.

    Raises:
        StorageError: as :func:`current`.
    """
    pointer = current(storage)
    return pointer.generations if pointer is not None else {}


def no_catalog(storage: ArchiveStorage) -> StorageError:
    """Return the error that says how there will be a catalog, also for those who have no keys."""
    return StorageError(
        f"no catalog in {storage.describe()} yet: run `recording-archive run`, or launch the catalog asset; where the archive "
        "has recordings already, `recording-archive compact` makes one without any key"
    )


def local_catalog(storage: ArchiveStorage, folder: Path) -> Path:
    """Return a local file with the current catalog: the published one itself, or a copy in ``folder``.

    Publications remove old versions: where one is gone before it was read to its end, the pointer is asked again.

    Raises:
        StorageError: none has been published yet, or what the pointer names is not there, however often it is asked; the message
            says what to do. Or the root failed.
        OSError: ``folder`` cannot be written.
    """
    local = storage.local_path(CATALOG_NAME)
    if local is not None:
        if not local.exists():
            raise no_catalog(storage)
        return local
    gone: list[str] = []
    while len(gone) < _TRIES:
        pointer = current(storage)
        if pointer is None:
            raise no_catalog(storage)
        try:
            return _copied(storage, pointer.path, folder)
        except NotStoredError:
            gone.append(pointer.path)
    msg = (
        f"{POINTER} in {storage.url} has named {', '.join(dict.fromkeys(gone))}, and nothing is there: "
        "run this again in a minute, when no publication is at work; if it stays so, launch the catalog asset: it makes it anew"
    )
    raise StorageError(msg)


def _copied(storage: ArchiveStorage, path: str, folder: Path) -> Path:
    """Return a whole local copy of a version; one that is there already is taken, since versions never change.

    Raises:
        NotStoredError: the version is gone.
    """
    target = folder / Path(path).name
    if target.exists():
        return target
    partial = target.with_suffix(".partial")
    try:
        with storage.open(path) as source, partial.open("wb") as sink:
            while piece := _piece(storage, path, source):
                sink.write(piece)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _piece(storage: ArchiveStorage, path: str, source: BinaryIO) -> bytes:
    # The errors of the root alone: those of the local folder are none of the root's.
    with storage_faults(storage.url, f"read {path}", reading=True):
        return source.read(_PIECE_BYTES)
