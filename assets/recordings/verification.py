"""Reading copies back: does the archive still hold what the ledger says?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from assets.recordings import names
from assets.recordings.events import Copy
from assets.recordings.ledger import Ledger
from assets.recordings.manifest import is_event_file, read_manifest, recording_sums
from assets.recordings.sidecar import read_sidecar
from assets.recordings.trail import TrailFault, check_trail
from resources.errors import StorageError
from resources.model import RecordingKey

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """One file that was read back; ``fault`` is None when it is what was stored.

    Attributes:
        key: which recording; None for a manifest and for an event file.
        path: relative to the archive root.
        bytes: that were read; 0 for what is no recording.
        fault: what is wrong, in words.
    """

    key: RecordingKey | None
    path: str
    bytes: int
    fault: str | None

    @property
    def is_copy(self) -> bool:
        """Whether it is a recording, and neither a manifest nor an event file."""
        return self.path.startswith(f"{names.RECORDINGS}/")


def verify_day(ledger: Ledger, provider: str, day: date) -> Iterator[Verdict]:
    """Read back every archived copy of a partition, its sidecar, its manifest and the audit trail of its events."""
    manifest = read_manifest(ledger, provider, day)
    for fault in check_trail(ledger, provider, day, manifest):
        yield from _trail_verdicts(fault)
    try:
        events = ledger.read_day(provider, day)
    except StorageError as error:
        yield Verdict(None, names.events_folder(provider, day), 0, f"the ledger of this day cannot be read: {error}")
        return
    for key, event in sorted(events.items()):
        if event.copy is not None:
            yield Verdict(key, event.copy.path, event.copy.bytes, _fault(ledger, key, day, event.copy))
    expected = recording_sums(events.values(), provider, day)
    found = {path: digest for path, digest in (manifest or {}).items() if not is_event_file(path)}
    if expected and found != expected:
        fault = "the manifest is missing" if manifest is None else "the manifest is not what the ledger says"
        words = f"{fault}: run the recordings asset of this partition to write it again"
        yield Verdict(None, names.manifest_path(provider, day), 0, words)


def _trail_verdicts(fault: TrailFault) -> Iterator[Verdict]:
    """Name each row that a fault is about; the file alone, where no row can be told."""
    for row in fault.rows:
        whose = "/".join(str(row.get(name)) for name in ("provider", "execution_id", "leg"))
        words = f"{fault.words}: event {row.get('event_id')}, number {row.get('seq')} of {whose}"
        yield Verdict(None, fault.path, 0, words)
    if not fault.rows:
        yield Verdict(None, fault.path, 0, fault.words)


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
    known = read_sidecar(storage, key, day, copy.number)
    if known is None:
        return "the sidecar is missing or cannot be read"
    if known[1].sidecar_sha256 != copy.sidecar_sha256:
        return "the sidecar is not the one that was written"
    return None
