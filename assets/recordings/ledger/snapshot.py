"""Snapshots: which files a provider's ledger consists of, after a fold or a compaction.

A snapshot is a small immutable file with a number, made by ``create``, which never replaces: of two folds that make the same
number one wins, and the other's work is done again. The highest number is the current one. So there is one line of snapshots,
without a lock, and a process that slept for a day cannot put an old one in the place of a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, datetime

import msgspec

from assets.recordings.ledger import places
from assets.recordings.ledger.files import damaged
from assets.recordings.ledger.ids import Segment
from assets.recordings.ledger.waiting import Waiting
from resources.errors import AlreadyStoredError, DamagedError, NotStoredError, StorageError
from resources.failpoints import Failpoint, reached
from resources.storage import ArchiveStorage

_KEPT = 3
_TRIES = 5


class Leaving(msgspec.Struct, frozen=True):
    """A file that newer ones have replaced, and that stays for who still reads it.

    Attributes:
        path: relative to the archive root.
        generation: of the first snapshot that does not need it.
        since: UTC moment of that, by the storage's clock.
    """

    path: str
    generation: int
    since: datetime


class Partition(msgspec.Struct, frozen=True):
    """One day of a snapshot.

    Attributes:
        day: which.
        state: path of its state file; days of one month may share one.
        recordings: its rows in that.
        states: how many recordings are in each state.
        bytes: of the archived copies.
        flaws: how many copies have each flaw.
        history: path of its compacted events; None where there are none.
        events: rows in that.
        folded: event files that the state was made of, and that are not in the history; also those that are gone since.
    """

    day: date
    state: str
    recordings: int
    states: dict[str, int]
    bytes: int
    flaws: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    history: str | None = None
    events: int = 0
    folded: tuple[str, ...] = ()

    @property
    def events_from(self) -> set[str]:
        """The files of events that the state was made of, compacted or not."""
        return {*self.folded, *((self.history,) if self.history is not None else ())}


class Snapshot(msgspec.Struct, frozen=True):
    """The files of a provider's ledger. Paths are relative to the archive root.

    Attributes:
        generation: its number.
        days: path of the list of its partitions.
        open: path of the open recordings, sorted by the time at which they are asked for next.
        ids: the index of ids.
        bases: base URLs of the API that have proved right.
        folded: every event file that the states know of and that may still lie in the tail's folder.
        leaving: files that were replaced.
        waiting: what the open recordings wait for.
    """

    generation: int = 0
    days: str = ""
    open: str = ""
    ids: tuple[Segment, ...] = ()
    bases: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    leaving: tuple[Leaving, ...] = ()
    waiting: Waiting | None = None

    @property
    def own_files(self) -> set[str]:
        """The files that a fold made for this snapshot itself; those of its days are in their list."""
        return {self.days, self.open, *(segment.path for segment in self.ids)} - {""}


def latest(storage: ArchiveStorage, provider: str) -> Snapshot | None:
    """Return the current snapshot; None where nothing was folded yet.

    Raises:
        StorageError: it is damaged, or leads elsewhere; the message says what to do.
    """
    for _ in range(_TRIES):
        numbers = _generations(storage, provider)
        if not numbers:
            return None
        path = places.snapshot_path(provider, max(numbers))
        with suppress(NotStoredError):  # others have gone on meanwhile, and tidied up
            return _parsed(storage, provider, path, storage.read(path))
    msg = f"the snapshots of {provider} in {storage.url} change faster than they can be read: run again"
    raise StorageError(msg)


def partitions(storage: ArchiveStorage, snapshot: Snapshot) -> dict[date, Partition]:
    """Return the days of a snapshot.

    Raises:
        NotStoredError: newer ones have taken its place long ago, or somebody deleted the list; the message says what to do.
        DamagedError: it is damaged.
    """
    if not snapshot.days:
        return {}
    try:
        data = storage.read(snapshot.days)
    except NotStoredError:
        msg = f"{snapshot.days} in {storage.url} is gone: run `recording-archive compact`, which makes it again from the events"
        raise NotStoredError(msg) from None
    try:
        listed = msgspec.json.decode(data, type=list[Partition])
        for each in listed:
            _check(each.state, places.is_derived)
            _check(each.history, places.is_history)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise damaged(storage, snapshot.days, error) from None
    return {each.day: each for each in listed}


def readable(storage: ArchiveStorage, provider: str) -> tuple[Snapshot, dict[date, Partition]]:
    """Return the newest snapshot that can be read, with its days; an empty one where there is none.

    For who makes everything again: what is gone or damaged of the newer ones is passed over.

    Raises:
        StorageError: the root failed.
    """
    for number in sorted(_generations(storage, provider), reverse=True):
        path = places.snapshot_path(provider, number)
        with suppress(NotStoredError, DamagedError):
            found = _parsed(storage, provider, path, storage.read(path))
            return found, partitions(storage, found)
    return Snapshot(), {}


def newest_number(storage: ArchiveStorage, provider: str) -> int:
    """Return the number of the current snapshot, whether it can be read or not; 0 where nothing was folded yet."""
    return max(_generations(storage, provider), default=0)


def encode_partitions(parts: Iterable[Partition]) -> bytes:
    """Return the list of a snapshot's days as it is stored."""
    return msgspec.json.encode(sorted(parts, key=lambda each: each.day))


def publish(storage: ArchiveStorage, provider: str, snapshot: Snapshot) -> bool:
    """Make a snapshot the current one; return False where another process was faster: then its work has to be done again.

    Raises:
        StorageError: the root failed; the former snapshot is the current one.
    """
    reached(Failpoint.FOLD_WRITTEN)
    try:
        storage.create(places.snapshot_path(provider, snapshot.generation), msgspec.json.encode(snapshot))
    except AlreadyStoredError:
        return False
    reached(Failpoint.FOLD_POINTED)
    numbers = _generations(storage, provider)
    for number in sorted(numbers)[:-_KEPT]:
        with suppress(StorageError):  # the next one does it
            storage.delete(places.snapshot_path(provider, number))
    return max(numbers, default=0) == snapshot.generation


def _generations(storage: ArchiveStorage, provider: str) -> list[int]:
    listed = (places.generation_of_snapshot(info.path) for info in storage.list(places.snapshots_folder(provider)))
    return [number for number in listed if number is not None]


def _parsed(storage: ArchiveStorage, provider: str, path: str, data: bytes) -> Snapshot:
    try:
        snapshot = msgspec.json.decode(data, type=Snapshot)
        if places.snapshot_path(provider, snapshot.generation) != path:
            msg = f"it calls itself number {snapshot.generation}"
            raise ValueError(msg)  # noqa: TRY301 -- one place says what is wrong
        folder = f"{places.ledger_folder(provider)}/"
        for name in (snapshot.days, snapshot.open, *(segment.path for segment in snapshot.ids)):
            _check(name, lambda name: places.is_derived(name) and name.startswith(folder))
        for name in (*snapshot.folded, *(each.path for each in snapshot.leaving)):
            _check(name, lambda name: places.is_events(name) or places.is_derived(name))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise damaged(storage, path, error) from None
    return snapshot


def _check(name: str | None, is_ours: Callable[[str], bool]) -> None:
    """Refuse a name that is no file of the ledger's: it is read, and may be deleted one day."""
    if name and (not is_ours(name) or ".." in name.split("/")):
        msg = f"it names {name[:80]!r}, which is no file of a fold"
        raise ValueError(msg)
