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


@dataclass(frozen=True, slots=True)
class Beside:
    """A path that nothing in the archive stands for now, and what it is.

    Attributes:
        path: relative to the archive root.
        words: for people.
        is_fault: True for a recording that no event speaks of: it was discovered before it was stored, so events are lost.
    """

    path: str
    words: str
    is_fault: bool = False


def beside(paths: Iterable[str], events: Iterable[Event], known: Collection[str]) -> Iterator[Beside]:
    """Yield what lies in a partition of recordings beside the copies that ledger and manifest stand for.

    Args:
        paths: of objects in a partition of recordings.
        events: the winning events of that partition.
        known: paths that ledger or manifest stand for.
    """
    spoken_of = {
        (names.recording_folder(event.key.provider, event.day, event.key.execution_id), event.key.leg): event for event in events
    }
    for path in paths:
        if path in known:
            continue
        name = name_of(path)
        event = spoken_of.get((name.folder, name.leg)) if name is not None else None
        if _MARK in path:
            yield Beside(path, "evidence: a sidecar that was not as written; it was written again")
        elif name is None:
            yield Beside(path, "neither a recording nor a sidecar: put there by somebody")
        elif event is None:
            yield Beside(path, "no event speaks of this recording: run `recording-archive rebuild`", is_fault=True)
        elif event.copy is None:
            yield Beside(
                path, f"the ledger does not know it yet: a run stores {event.key}, or was killed; the next one adopts it"
            )
        elif name.number < event.copy.number:
            yield Beside(path, f"evidence: kept beside the copy that replaced it, {event.copy.path}")
        else:
            yield Beside(path, f"the ledger does not know it: {event.key} has {event.copy.path}")
