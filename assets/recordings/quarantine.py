"""What came instead of recordings: the first kilobyte of each kind of body, and the facts about it, for a person to look at.

    quarantine/provider=feather/date=2026-11-20/<safe id>/main.3f9c2a1b7e04.txt   what came, without secrets
    quarantine/provider=feather/date=2026-11-20/<safe id>/main.3f9c2a1b7e04.json  when, with which answer, what it seemed to be

An error page that comes a hundred times is kept once, also where it tells another time or request number each time. It never lies
below ``recordings/``, so nothing takes it for a recording.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from datetime import date, datetime

import msgspec

from assets.recordings import names
from assets.recordings.errand import Errand
from resources.errors import AlreadyStoredError, NotMediaError, StorageError
from resources.evidence import Evidence
from resources.redaction import redact
from resources.storage import ArchiveStorage

KINDS_MAX = 5
"""How many kinds of bodies are kept of one recording."""
FORMAT = 1
_BODY, _FACTS = ".txt", ".json"
_KIND_DIGITS = 12
# What differs between two copies of one page: numbers, times, request ids.
_CHANGING = re.compile(rb"[0-9A-Za-z_-]*[0-9][0-9A-Za-z_-]*")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about one kind of body.

    Attributes:
        format: version of this layout.
        provider, execution_id, leg, date: in place of which recording it came; the id verbatim.
        at, run_id: when it came for the first time, and to which run.
        http_status: of the answer.
        declared_type: what the media host called it.
        length: the bytes that the host announced.
        kept: the bytes that are kept, secrets removed.
        seems: what it seems to be.
        why: why it was refused.
    """

    format: int = FORMAT
    provider: str
    execution_id: str
    leg: str
    date: date
    at: datetime
    run_id: str
    http_status: int | None
    declared_type: str | None
    length: int | None
    kept: int
    seems: str
    why: str


def keep(storage: ArchiveStorage, errand: Errand, error: NotMediaError, now: datetime) -> str | None:
    """Keep what came in place of a recording, unless its kind is kept already; return in words where, for the event's detail.

    Returns None where nothing came. Never raises: that the body was no recording is the news, and not what became of it.
    """
    evidence = error.evidence
    if evidence is None:
        return None
    try:
        return _keep(storage, errand, error, evidence, now)
    except StorageError as fault:
        return f"its beginning could not be kept: {fault}"


def _keep(storage: ArchiveStorage, errand: Errand, error: NotMediaError, evidence: Evidence, now: datetime) -> str:
    key = errand.key
    folder = names.quarantine_folder(key.provider, errand.day, key.execution_id)
    stem = f"{folder}/{key.leg.value}.{kind_of(evidence, error.http_status)}"
    known = {info.path for info in storage.list(folder) if info.path.startswith(f"{folder}/{key.leg.value}.")}
    bodies = sum(path.endswith(_BODY) for path in known)
    if stem + _BODY not in known and bodies >= KINDS_MAX:
        return f"{bodies} kinds of such bodies are kept in {folder}, and this is one more"
    facts = Facts(
        provider=key.provider,
        execution_id=key.execution_id,
        leg=key.leg.value,
        date=errand.day,
        at=now,
        run_id=errand.run_id,
        http_status=error.http_status,
        declared_type=evidence.declared_type,
        length=evidence.length,
        kept=len(evidence.head),
        seems=evidence.seems,
        why=redact(error.detail),
    )
    # Either may be missing after a kill; what is there is never replaced.
    for path, data in ((stem + _BODY, evidence.head), (stem + _FACTS, msgspec.json.format(msgspec.json.encode(facts), indent=2))):
        if path not in known:
            with suppress(AlreadyStoredError):
                storage.create(path, data)
    return f"its beginning is kept in {stem}{_BODY}"


def kind_of(evidence: Evidence, http_status: int | None) -> str:
    """Return a short digest that is the same for bodies which differ in their numbers only."""
    parts = (str(http_status).encode(), evidence.seems.encode(), _CHANGING.sub(b"#", evidence.head))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:_KIND_DIGITS]
