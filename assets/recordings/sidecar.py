"""The sidecar: the facts of one archived copy, as JSON beside it. No URL stands in it."""

from __future__ import annotations

import hashlib
from datetime import date, datetime

import msgspec

from assets.recordings import names
from assets.recordings.events import Copy, Event
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
        restored: True when it was written again from the ledger: what only the lost one knew is None.
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
    restored: bool = False


def write_sidecar(storage: ArchiveStorage, sidecar: Sidecar) -> Copy:
    """Write the sidecar, once, and return the copy that the stored one describes. Again is harmless.

    Where another run has written one for the same bytes, that one stays: both runs then tell the ledger the same. One that
    describes other bytes is out of date, and replaced.
    """
    key = RecordingKey(sidecar.provider, sidecar.execution_id, Leg(sidecar.leg))
    path = names.sidecar_path(sidecar.provider, sidecar.date, sidecar.execution_id, key.leg, sidecar.number)
    data = _encode(sidecar)
    try:
        storage.create(path, data)
    except AlreadyStoredError:
        storage.settle(path.rpartition("/")[0])  # its writer may not have made its name last yet
        known = read_sidecar(storage, key, sidecar.date, sidecar.number)
        if known is not None and (known[0].path, known[0].sha256) == (sidecar.path, sidecar.sha256):
            return known[1]
        storage.write(path, data)
    reached(Failpoint.SIDECAR_WRITTEN)
    return _copy(sidecar, data)


def restored_bytes(event: Event, copy: Copy) -> bytes:
    """Return the sidecar of an archived copy as the ledger can tell it; the same event gives the same bytes."""
    key = event.key
    return _encode(
        Sidecar(
            provider=key.provider,
            execution_id=key.execution_id,
            leg=key.leg.value,
            date=event.day,
            path=copy.path,
            bytes=copy.bytes,
            sha256=copy.sha256,
            content_type=copy.content_type,
            archived_at=copy.archived_at or event.at,
            run_id=event.run_id,
            attempts=event.life.attempts,
            number=copy.number,
            media_seconds=copy.media_seconds,
            expected_seconds=event.expected_seconds,
            restored=True,
        )
    )


def read_sidecar(storage: ArchiveStorage, key: RecordingKey, day: date, number: int = 1) -> tuple[Sidecar, Copy] | None:
    """Return the sidecar of a recording's copy, or None when there is none, or none that can be read."""
    path = names.sidecar_path(key.provider, day, key.execution_id, key.leg, number)
    if not storage.exists(path):
        return None
    return parse_sidecar(storage.read(path))


def parse_sidecar(data: bytes) -> tuple[Sidecar, Copy] | None:
    """Return what a sidecar's bytes say, or None where they cannot be read."""
    try:
        sidecar = msgspec.json.decode(data, type=Sidecar)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return sidecar, _copy(sidecar, data)


def _encode(sidecar: Sidecar) -> bytes:
    return msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n"


def _copy(sidecar: Sidecar, data: bytes) -> Copy:
    return Copy(
        path=sidecar.path,
        bytes=sidecar.bytes,
        sha256=sidecar.sha256,
        content_type=sidecar.content_type,
        sidecar_sha256=hashlib.sha256(data).hexdigest(),
        number=sidecar.number,
        media_seconds=sidecar.media_seconds,
        archived_at=sidecar.archived_at,
    )
