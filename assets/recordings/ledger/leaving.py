"""Removing what newer files have replaced long ago, and what died processes have left."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import msgspec

from assets.recordings import names
from assets.recordings.ledger import history, places, snapshot
from assets.recordings.ledger.reading import Reader
from assets.recordings.ledger.snapshot import Snapshot
from resources.failpoints import Failpoint, reached


def retire(
    reader: Reader,
    provider: str,
    *,
    grace: timedelta,
    shown: int | None,
    before_delete: Callable[[Collection[str]], None],
) -> int:
    """Remove the files that were replaced more than ``grace`` ago, and what died processes left; return how many.

    Args:
        reader: of the archive.
        provider: whose.
        grace: for how long readers may still be on a file.
        shown: the generation that the published catalog shows, whose files stay; None where there is none.
        before_delete: is told of the files of events among them, so that the manifests no longer ask for them.

    Raises:
        StorageError: the root failed; what is left goes the next time.
    """
    taken = reader.latest(provider)
    if taken is None:
        return 0
    now = _storage_time(reader, provider)
    needed = _referenced(reader, taken)
    due = [each.path for each in taken.leaving if now - each.since >= grace and (shown is None or each.generation <= shown)]
    going = [path for path in due if path not in needed]
    strays = _strays(reader, provider, taken, needed, now - grace)
    if not going and not strays:
        return 0
    before_delete([path for path in going if places.is_events(path)])
    for path in going:
        reader.storage.delete(path)
    reached(Failpoint.RETIRED)
    gone = set(going)
    after = msgspec.structs.replace(
        taken,
        generation=taken.generation + 1,
        folded=tuple(path for path in taken.folded if path not in gone),
        leaving=tuple(each for each in taken.leaving if each.path not in gone),
    )
    # The strays last: from here on no slow process can publish a snapshot that names one of them.
    if not snapshot.publish(reader.storage, provider, after):
        return len(going)
    for path in strays:
        reader.storage.delete(path)
    return len(going) + len(strays)


def _storage_time(reader: Reader, provider: str) -> datetime:
    """Return what time it is by the storage's own clock."""
    path = f"{places.ledger_folder(provider)}/clock"
    reader.storage.write(path, b"")
    return reader.storage.info(path).modified


def _referenced(reader: Reader, taken: Snapshot) -> set[str]:
    parts = reader.partitions(taken).values()
    found = taken.own_files | {part.state for part in parts}
    return found.union(*(part.events_from for part in parts))


def _strays(reader: Reader, provider: str, taken: Snapshot, needed: Collection[str], before: datetime) -> list[str]:
    """Return old files that no snapshot names: their processes died. Events are among them only where others hold them too."""
    known = {*needed, *(each.path for each in taken.leaving)}
    trees = (f"{names.STATES}/provider={provider}", places.ledger_folder(provider), f"{names.EVENTS}/provider={provider}")
    old = [
        info.path
        for tree in trees
        for info in reader.storage.list(tree)
        if info.path not in known and info.modified <= before and (places.is_derived(info.path) or places.is_history(info.path))
    ]
    return [path for path in old if places.is_derived(path) or _is_held_elsewhere(reader, taken, path)]


def _is_held_elsewhere(reader: Reader, taken: Snapshot, path: str) -> bool:
    """Whether every event file in a file of compacted events is also in the day's current one, or still lies there itself."""
    part = reader.partitions(taken).get(places.day_of(path))
    stray = history.read_history(path, reader.storage.read(path))
    held: set[str] = set()
    if part is not None and part.history is not None:
        held |= history.read_history(part.history, reader.storage.read(part.history)).said.keys()
    return stray.is_own and all(name in held or reader.storage.exists(name) for name in stray.said)
