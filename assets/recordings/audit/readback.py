"""Reading one copy back: is it what was stored, and does its sidecar say so?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date

from assets.recordings import names
from assets.recordings.events import Copy, Flaw
from resources.errors import NotStoredError, StorageError
from resources.model import RecordingKey
from resources.storage import ArchiveStorage
from resources.storage.faults import storage_faults

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found where a copy should be.

    Attributes:
        bytes: that were read.
        flaw: what is wrong with the copy itself; None when it is what was stored.
        fault: the same in words.
        sidecar_fault: what is wrong with the sidecar of a copy that is good.
        refused: True when the root would not let it be read; the copy may be as good as ever.
    """

    bytes: int = 0
    flaw: Flaw | None = None
    fault: str | None = None
    sidecar_fault: str | None = None
    refused: bool = False

    @property
    def words(self) -> str | None:
        """What is wrong, of the copy before the sidecar; None when nothing is."""
        return self.fault or self.sidecar_fault


def read_back(storage: ArchiveStorage, key: RecordingKey, day: date, copy: Copy) -> Reading:
    """Read a copy to its end, and its sidecar, and compare them with what the ledger says of them."""
    try:
        size, digest = measure(storage, copy.path)
    except NotStoredError:
        return Reading(flaw=Flaw.MISSING, fault="the recording is missing")
    except StorageError as error:
        return Reading(flaw=Flaw.DAMAGED, fault=f"the recording cannot be read: {error}", refused=True)
    if size != copy.bytes:
        return Reading(size, Flaw.DAMAGED, f"the recording has {size} bytes, and {copy.bytes} were stored")
    if digest != copy.sha256:
        return Reading(size, Flaw.DAMAGED, "the recording's SHA-256 is not the one that was stored")
    return Reading(size, sidecar_fault=_sidecar_fault(storage, key, day, copy))


def measure(storage: ArchiveStorage, path: str) -> tuple[int, str]:
    """Return length and SHA-256 of an object.

    Raises:
        NotStoredError: there is none.
        StorageError: it cannot be read to its end.
    """
    digest, size = hashlib.sha256(), 0
    with storage.open(path) as stream, storage_faults(storage.url, f"read {path}", reading=True):
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _sidecar_fault(storage: ArchiveStorage, key: RecordingKey, day: date, copy: Copy) -> str | None:
    path = names.sidecar_path(key.provider, day, key.execution_id, key.leg, copy.number)
    try:
        data = storage.read(path)
    except NotStoredError:
        return "the sidecar is missing"
    except StorageError as error:
        return f"the sidecar cannot be read: {error}"
    if hashlib.sha256(data).hexdigest() != copy.sidecar_sha256:
        return "the sidecar is not the one that was written"
    return None
