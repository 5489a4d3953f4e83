"""Finding recordings that a killed run had published before it could say so, and writing down their facts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from assets.recordings import names
from assets.recordings.audit.readback import measure
from assets.recordings.errand import Errand
from assets.recordings.events import Copy, Event
from assets.recordings.sidecar import Sidecar, read_sidecar, write_sidecar
from resources.archive import Archive
from resources.errors import NotMediaError, Subject
from resources.model import RecordingKey
from resources.storage import ArchiveStorage
from resources.transfer.signature import SIGNATURE_BYTES, detect


def find_orphans(storage: ArchiveStorage, provider: str, day: date, due: Iterable[Event]) -> dict[RecordingKey, str]:
    """Return the path of each due recording that lies in the archive already, from one listing of the partition."""
    published: dict[str, str] = {}
    for info in storage.list(f"{names.RECORDINGS}/{names.partition(provider, day)}"):
        stem, _, extension = info.path.rpartition(".")
        if f".{extension}" != names.SIDECAR_SUFFIX:
            published[stem] = info.path
    found: dict[RecordingKey, str] = {}
    for event in due:
        key = event.key
        stem = f"{names.recording_folder(provider, day, key.execution_id)}/{key.leg.value}"
        if stem in published:
            found[key] = published[stem]
    return found


def adopt(archive: Archive, errand: Errand, path: str) -> Copy:
    """Return the facts of a published copy, from its sidecar or, where there is none, from its bytes.

    A recording is published only after it was verified, so what lies there without a sidecar is whole. What has one may lie there
    for long (its events were lost), and is believed only when its bytes are those that the sidecar says.

    Raises:
        NotMediaError: it is not media after all, or not what its sidecar says; it is left as it is.
    """
    storage, key, day = archive.storage, errand.key, errand.day
    # Who published it may be between naming it and making the name last: what the ledger says must not outlive the copy.
    storage.settle(names.recording_folder(key.provider, day, key.execution_id))
    known = read_sidecar(storage, key, day, errand.number)
    if known is not None and known[0].path == path:
        if measure(storage, path) == (known[0].bytes, known[0].sha256):
            return known[1]
        subject = Subject(key.provider, key.execution_id, key.leg.value)
        msg = f"{path} is not what its sidecar says: run `recording-archive rebuild`, which writes that down, then an audit"
        raise NotMediaError(subject, msg)
    size, sha256 = measure(storage, path)
    container = detect(storage.read_range(path, 0, SIGNATURE_BYTES))
    if container is None:
        subject = Subject(key.provider, key.execution_id, key.leg.value)
        msg = f"{path} stands where this recording belongs, and is no recording: move it away, then run again"
        raise NotMediaError(subject, msg)
    sidecar = Sidecar(
        provider=key.provider,
        execution_id=key.execution_id,
        leg=key.leg.value,
        date=day,
        path=path,
        bytes=size,
        sha256=sha256,
        content_type=container.content_type,
        archived_at=archive.runtime.now(),
        run_id=errand.run_id,
        attempts=errand.attempts,
        number=errand.number,
        media_seconds=archive.playing_time(storage, path, container),
        expected_seconds=errand.expected_seconds,
        adopted=True,
    )
    return write_sidecar(storage, sidecar)
