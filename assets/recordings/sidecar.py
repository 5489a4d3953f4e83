"""The sidecar: the facts of one archived copy, as JSON beside it. No URL stands in it."""

from __future__ import annotations

import hashlib
from datetime import date, datetime

import msgspec

from assets.recordings import names
from assets.recordings.events import Copy
from resources.errors import AlreadyStoredError
from resources.failpoints import Failpoint, reached
from resources.model import Leg, RecordingKey
from resources.storage import ArchiveStorage

FORMAT = 1


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a copy. With the recordings and events, enough to make everything else again.

    Attributes:
        format: version of this layout.
        provider, execution_id, leg, date: which recording; the id verbatim.
        path: of the copy, relative to the archive root.
        bytes, sha256: of the copy.
        content_type: detected from the bytes; ``declared_type`` is what the media host said.
        etag, last_modified: of the media host, if it said them.
        archived_at, run_id, attempts: when, by which run and at which try.
        number: of the copy; more than 1 for one that replaced a damaged copy.
        media_seconds: how long the copy plays by its own account, if it says so.
        expected_seconds: how long it should play by the provider's account, if there is one.
        adopted: True when a run that died had published the copy, and a later one wrote down its facts.
    """

    format: int = FORMAT
    provider: str
    execution_id: str
    leg: str
    date: date
    path: str
    bytes: int
    sha256: str
    content_type: str
    declared_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    archived_at: datetime
    run_id: str
    attempts: int
    adopted: bool = False
    number: int = 1
    media_seconds: float | None = None
    expected_seconds: float | None = None


def write_sidecar(storage: ArchiveStorage, sidecar: Sidecar) -> Copy:
    """Write the sidecar, once, and return the copy that the stored one describes. Again is harmless.

    Where another run has written one for the same bytes, that one stays: both runs then tell the ledger the same. One that
    describes other bytes is out of date, and replaced.
    """
    key = RecordingKey(sidecar.provider, sidecar.execution_id, Leg(sidecar.leg))
    path = names.sidecar_path(sidecar.provider, sidecar.date, sidecar.execution_id, key.leg, sidecar.number)
    data = msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n"
    try:
        storage.create(path, data)
    except AlreadyStoredError:
        storage.settle(names.recording_folder(sidecar.provider, sidecar.date, sidecar.execution_id))
        known = read_sidecar(storage, key, sidecar.date, sidecar.number)
        if known is not None and (known[0].path, known[0].sha256) == (sidecar.path, sidecar.sha256):
            return known[1]
        storage.write(path, data)
    reached(Failpoint.SIDECAR_WRITTEN)
    return _copy(sidecar, data)


def read_sidecar(storage: ArchiveStorage, key: RecordingKey, day: date, number: int = 1) -> tuple[Sidecar, Copy] | None:
    """Return the sidecar of a recording's copy, or None when there is none, or none that can be read."""
    path = names.sidecar_path(key.provider, day, key.execution_id, key.leg, number)
    if not storage.exists(path):
        return None
    data = storage.read(path)
    try:
        sidecar = msgspec.json.decode(data, type=Sidecar)
    except msgspec.DecodeError:
        return None
    return sidecar, _copy(sidecar, data)


def _copy(sidecar: Sidecar, data: bytes) -> Copy:
    return Copy(
        path=sidecar.path,
        bytes=sidecar.bytes,
        sha256=sidecar.sha256,
        content_type=sidecar.content_type,
        sidecar_sha256=hashlib.sha256(data).hexdigest(),
        number=sidecar.number,
        media_seconds=sidecar.media_seconds,
    )
