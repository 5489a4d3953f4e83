"""What stands beside the good copies: damaged ones that were replaced, and sidecars that were not as written.

Nothing here is ever overwritten, moved or deleted by the archive.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from assets.recordings import names
from assets.recordings.events import Event
from resources.model import Leg

_MARK = ".evidence-"
_DIGITS = 16
_LEGS = "|".join(leg.value for leg in Leg)
_NAME = re.compile(rf"(?P<folder>.+)/(?P<leg>{_LEGS})(?:\.(?P<number>\d+))?\.(?P<extension>[^./]+)")


@dataclass(frozen=True, slots=True)
class CopyName:
    """What the path of a copy or of its sidecar says.

    Attributes:
        folder: of the execution, relative to the archive root.
        leg: which of its recordings.
        number: of the copy.
        is_sidecar: whether it is the sidecar.
    """

    folder: str
    leg: Leg
    number: int
    is_sidecar: bool


def name_of(path: str) -> CopyName | None:
    """Take the path of a copy or a sidecar apart; None where it is neither."""
    found = _NAME.fullmatch(path)
    if found is None:
        return None
    is_sidecar = f".{found['extension']}" == names.SIDECAR_SUFFIX
    return CopyName(found["folder"], Leg(found["leg"]), int(found["number"] or 1), is_sidecar)


def kept_path(sidecar_path: str, data: bytes) -> str:
    """Return where the bytes of a sidecar that is not as written are kept; the same bytes have the same place."""
    stem = sidecar_path.removesuffix(names.SIDECAR_SUFFIX)
    return f"{stem}{_MARK}{hashlib.sha256(data).hexdigest()[:_DIGITS]}{names.SIDECAR_SUFFIX}"


def beside(paths: Iterable[str], events: Iterable[Event], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each path that nothing in the archive stands for now, with what it is.

    Args:
        paths: of objects in a partition of recordings.
        events: the winning events of that partition.
        known: paths that ledger or manifest stand for.
    """
    newest: dict[tuple[str, Leg], Event] = {}
    for event in events:
        if event.copy is not None:
            key = event.key
            newest[names.recording_folder(key.provider, event.day, key.execution_id), key.leg] = event
    for path in paths:
        if path in known:
            continue
        name = name_of(path)
        event = newest.get((name.folder, name.leg)) if name is not None else None
        if _MARK in path:
            yield path, "evidence: a sidecar that was not as written; it was written again"
        elif name is None or event is None or event.copy is None:
            yield path, "the ledger does not know it: left by a killed run, which the next one adopts, or put there by somebody"
        elif name.number < event.copy.number:
            yield path, f"evidence: kept beside the copy that replaced it, {event.copy.path}"
        else:
            yield path, f"the ledger does not know it: {event.key} has {event.copy.path}"
