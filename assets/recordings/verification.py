"""Reading copies back: does the archive still hold what the ledger says?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from assets.recordings import names
from assets.recordings.events import Copy
from assets.recordings.ledger import Ledger
from assets.recordings.manifest import manifest_lines
from assets.recordings.sidecar import read_sidecar
from resources.errors import StorageError
from resources.model import RecordingKey

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """One copy that was read back; ``fault`` is None when it is what was stored."""

    key: RecordingKey
    path: str
    bytes: int
    fault: str | None


def verify_day(ledger: Ledger, provider: str, day: date) -> Iterator[Verdict]:
    """Read back every archived copy of a partition, its sidecar, and at the end its manifest."""
    events = ledger.read_day(provider, day)
    for key, event in sorted(events.items()):
        if event.copy is not None:
            yield Verdict(key, event.copy.path, event.copy.bytes, _fault(ledger, key, day, event.copy))
    lines = manifest_lines(events.values(), provider, day)
    if lines:
        path = names.manifest_path(provider, day)
        expected = "".join(f"{line}\n" for line in lines).encode()
        found = ledger.storage.read(path) if ledger.storage.exists(path) else None
        if found != expected:
            fault = "the manifest is missing" if found is None else "the manifest is not what the ledger says"
            yield Verdict(next(iter(events)), path, 0, f"{fault}: run the recordings asset of this partition to write it again")


def _fault(ledger: Ledger, key: RecordingKey, day: date, copy: Copy) -> str | None:
    storage = ledger.storage
    if not storage.exists(copy.path):
        return "the recording is missing"
    digest, size = hashlib.sha256(), 0
    try:
        with storage.open(copy.path) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except (OSError, StorageError) as error:
        return f"the recording cannot be read: {error}"
    if size != copy.bytes:
        return f"the recording has {size} bytes, and {copy.bytes} were stored"
    if digest.hexdigest() != copy.sha256:
        return "the recording's SHA-256 is not the one that was stored"
    known = read_sidecar(storage, key, day)
    if known is None:
        return "the sidecar is missing or cannot be read"
    if known[1].sidecar_sha256 != copy.sidecar_sha256:
        return "the sidecar is not the one that was written"
    return None
