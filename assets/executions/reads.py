"""When each day was last read to its end: so that the schedule knows which days it owes, also after a long pause.

One small file for each provider. Two runs that write it at the same time may lose one entry; its day is then read once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

import msgspec

from resources.storage import ArchiveStorage

_FOLDER = "lake/executions_read"


def last_reads(storage: ArchiveStorage, provider: str) -> dict[date, datetime]:
    """Return for each day the UTC moment at which its last complete walk began."""
    path = _path(provider)
    if not storage.exists(path):
        return {}
    try:
        known = msgspec.json.decode(storage.read(path), type=dict[date, datetime])
    except msgspec.DecodeError:  # damaged, or not ours: the days are read once more, and it is written anew
        return {}
    return {day: moment if moment.tzinfo else moment.replace(tzinfo=UTC) for day, moment in known.items()}


def note_reads(storage: ArchiveStorage, provider: str, days: Iterable[date], moment: datetime) -> None:
    """Note that a walk that began at ``moment`` (UTC) has read ``days`` to their end and is written down."""
    known = last_reads(storage, provider)
    for day in days:
        known[day] = max(moment, known.get(day, moment))
    storage.write(_path(provider), msgspec.json.encode(known))


def _path(provider: str) -> str:
    return f"{_FOLDER}/provider={provider}.json"
