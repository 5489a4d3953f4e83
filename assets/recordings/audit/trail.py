"""Reading the audit trail back: was an event file edited, removed or put there by somebody else?

Four witnesses stand for an event file: what it says of itself (its path, a digest of each row), the writer's next file (which
holds its hash), the manifest of its partition (which holds it too), and the compacted state (which names the files that it was
made of). One that disagrees is enough. Compacted events stand for the event files in them as those did for themselves.

Each event file is read once, whatever the number of questions. What a file says of another one, which may lie in another
partition, is kept until the end: :meth:`Trail.finish`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from assets.recordings import names
from assets.recordings.audit.compacted import Compacted
from assets.recordings.events import Event, from_rows
from assets.recordings.ledger import Ledger, places
from assets.recordings.ledger.chain import EventFile, read_event_file, sha256_of
from assets.recordings.ledger.history import History
from assets.recordings.manifest import is_event_file, is_replaced_by, read_losses
from resources.errors import NotStoredError

_NOT_OURS = "this event file was put there by somebody else: no writer of the archive says that it is its own"
_REMOVED = "this event file was removed"


@dataclass(frozen=True, slots=True)
class TrailFault:
    """What is wrong with one event file, in words.

    Attributes:
        path: of the file.
        words: what was done to it.
        rows: that it is about, where they can be told.
        is_removal: True where the file is gone.
        sha256: of a file that is gone; ``unknown`` where no witness holds it.
    """

    path: str
    words: str
    rows: tuple[Mapping[str, Any], ...] = ()
    is_removal: bool = False
    sha256: str = "unknown"


@dataclass(slots=True)
class DayTrail:
    """What the event files of a partition gave.

    Attributes:
        faults: that could be told from this partition alone.
        rows: by file, those that a writer wrote as they are.
        packed: the files of these whose rows were read from compacted events.
    """

    faults: list[TrailFault] = field(default_factory=list[TrailFault])
    rows: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict[str, list[Mapping[str, Any]]])
    packed: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a file says of the one that its writer wrote before it."""

    sha256: str
    said_by: str


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A manifest that says another hash than a file that is in order by its own account: which of the two was changed?"""

    file: EventFile
    manifest: str
    said: str


@dataclass(slots=True)
class Trail:
    """Checks the event files of one provider. Not thread-safe.

    Attributes:
        ledger: of the archive.
        compacted: what was folded and compacted when the checking began.
    """

    ledger: Ledger
    compacted: Compacted
    _seen: dict[str, str] = field(default_factory=dict[str, str])
    _claims: dict[str, _Claim] = field(default_factory=dict[str, _Claim])
    _doubts: dict[str, _Doubt] = field(default_factory=dict[str, _Doubt])
    _losses: dict[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    _told: set[str] = field(default_factory=set[str])

    def check_day(
        self, provider: str, day: date, manifest: Mapping[str, str] | None, compacted: Iterable[Event] = ()
    ) -> DayTrail:
        """Compare the event files of a partition with what they say of themselves, and with the manifest.

        Args:
            provider: whose partition.
            day: which one.
            manifest: path to SHA-256 of the partition's stored manifest, or None where there is none. It has to be read
                before, so that a file that is written meanwhile is none that was removed.
            compacted: the partition's events of the compacted state: they tell which rows of a file were changed by a tool that
                dropped what the writer says of them.

        A file that is newer than the manifest and is what its writer wrote is no fault: a run may be at work.
        """
        found, folded = DayTrail(), {event.event_id: event for event in compacted}
        known = {path: digest for path, digest in (manifest or {}).items() if is_event_file(path)}
        listed = set(self.ledger.event_files(provider, day))
        history = self._check_history(provider, day, known, found)
        current = history.path if history is not None else ""
        for path in sorted(path for path in known.keys() - listed - found.packed if path != current):
            if not is_replaced_by(current, path):
                found.faults += self._removed(path, "the manifest knows it", known[path])
        for path in sorted(self.compacted.folded_of(day) - known.keys() - listed - found.packed):
            found.faults += self._removed(path, "the compacted state was made of it")
        manifest_path = names.manifest_path(provider, day)
        for file in self._read(sorted(listed), found.packed):
            path = file.path
            self._seen[path] = file.sha256
            found.rows[path] = file.genuine_rows
            if file.is_own and known.get(path, file.sha256) != file.sha256:
                self._doubts[path] = _Doubt(file, manifest_path, known[path])
            elif file.is_own and manifest is not None and path not in known and path in self.compacted.folded:
                # Whoever folds writes the manifests before.
                if current not in known or path not in found.packed:
                    words = f"the line of {path} is missing: `recording-archive rebuild` writes it again"
                    found.faults.append(TrailFault(manifest_path, words))
            elif not file.is_own:
                found.faults.append(self._tell(_described(file, folded)))
            self._claim(file)
        return found

    def _read(self, paths: Iterable[str], packed: Collection[str]) -> Iterator[EventFile]:
        for path in paths:
            try:
                yield read_event_file(path, self.ledger.storage.read(path))
            except NotStoredError:
                if path not in packed:
                    raise
                # A compaction has removed it meanwhile: others stand for it.

    def _claim(self, file: EventFile) -> None:
        if file.link is not None and file.link.path == file.path and file.link.previous:
            self._claims[file.link.previous] = _Claim(file.link.previous_sha256, file.path)

    def _check_history(self, provider: str, day: date, known: Mapping[str, str], found: DayTrail) -> History | None:
        """Read the compacted events of a partition: each event file in them counts as if it lay there itself."""
        path = self.compacted.history_of(day)
        if path is None:
            # Deleted snapshots name none: then every file that is there counts.
            files = [] if self.compacted.generation else self.ledger.history_files(provider, day)
            path = files[-1] if files else None
        if path is None:
            return None
        try:
            history = self.ledger.read_history(path)
        except NotStoredError:
            found.faults += self._removed(path, "the compacted state was made of it", known.get(path, "unknown"))
            return None
        self._seen[path] = history.sha256
        for name, file in history.sources.items():
            self._seen.setdefault(name, file.sha256)
            found.rows[name] = file.genuine_rows
            found.packed.add(name)
            self._claim(file)
        found.faults += [self._tell(TrailFault(path, words)) for words in history.faults]
        if history.is_own and known.get(path, history.sha256) != history.sha256:
            words = f"these compacted events and their line in {names.manifest_path(provider, day)} disagree: one was changed"
            found.faults.append(self._tell(TrailFault(path, words)))
        elif known and path not in known and not history.said.keys() & known.keys():
            words = f"the line of {path} is missing: `recording-archive rebuild` writes it again"
            found.faults.append(TrailFault(names.manifest_path(provider, day), words))
        return history

    def finish(self) -> Iterator[TrailFault]:
        """Say what the files of all partitions that were checked say of each other."""
        for path, doubt in sorted(self._doubts.items()):
            yield self._tell(_settled(doubt, self._claims.get(path)))
        for path, claim in sorted(self._claims.items()):
            if path in self._told:
                continue
            digest = self._seen.get(path) or self._digest_of(path)
            if digest is None:
                yield from self._removed(path, f"its writer's next one knows it ({claim.said_by})", claim.sha256)
            elif digest != claim.sha256:
                yield self._tell(self._disputed(path, claim))

    def _digest_of(self, path: str) -> str | None:
        """Return the SHA-256 of an event file of a partition that was not checked; None where nothing stands for it."""
        with suppress(NotStoredError):
            return sha256_of(self.ledger.storage.read(path))
        history = self.compacted.history_of(places.day_of(path)) if places.is_events(path) else None
        with suppress(NotStoredError):
            said = self.ledger.read_history(history).said.get(path) if history is not None else None
            return said.sha256 if said is not None else None
        return None

    def _disputed(self, path: str, claim: _Claim) -> TrailFault:
        try:
            return _described(read_event_file(path, self.ledger.storage.read(path)))
        except NotStoredError:
            words = f"what compacted events say of {path} is not what its writer's next file says ({claim.said_by})"
            return TrailFault(self.compacted.history_of(places.day_of(path)) or path, words)

    def _tell(self, fault: TrailFault) -> TrailFault:
        self._told.add(fault.path)
        return fault

    def _removed(self, path: str, witness: str, sha256: str = "unknown") -> Iterator[TrailFault]:
        """Name a file that is not there, once, unless an operator has accepted its loss."""
        if path not in self._told and path not in self._losses_of(path):
            yield self._tell(TrailFault(path, f"{_REMOVED}: {witness}", is_removal=True, sha256=sha256))

    def _losses_of(self, path: str) -> Mapping[str, str]:
        folder = places.partition_of(path)
        if folder not in self._losses:
            self._losses[folder] = read_losses(self.ledger, folder)
        return self._losses[folder]


def _settled(doubt: _Doubt, claim: _Claim | None) -> TrailFault:
    """Decide between a file and its manifest, by the writer's next file where there is one."""
    if claim is None:
        words = f"this event file and its line in {doubt.manifest} disagree, and no later file stands for either: one was changed"
        return TrailFault(doubt.file.path, words)
    if claim.sha256 == doubt.file.sha256:
        return TrailFault(doubt.manifest, f"the line of {doubt.file.path} was edited: its writer's next file stands for the file")
    return _described(doubt.file)


def _described(file: EventFile, folded: Mapping[str, Event] | None = None) -> TrailFault:
    """Say what was done to a file that is not as its writer wrote it; ``folded`` holds compacted events by their id."""
    link = file.link
    if file.rows is None:
        return TrailFault(file.path, "this event file was damaged: it is not Parquet any more")
    if link is None:
        return TrailFault(file.path, f"{_NOT_OURS}, or it was written again by another tool", _doubtful(file.rows, folded or {}))
    if link.path != file.path:
        return TrailFault(file.path, f"{_NOT_OURS}; it is a copy of {link.path}", file.rows)
    strange, lost = tuple(file.strange_rows), file.lost_rows
    if strange or lost:
        words = f"this event file was edited: {len(strange)} rows are not as written, {lost} written ones are gone"
        return TrailFault(file.path, words, strange)
    if link.rows != file.digests:
        return TrailFault(file.path, "this event file was edited: its rows are those that were written, in another order")
    return TrailFault(file.path, "this event file was written again: its bytes are not those that were stored, its rows are")


def _doubtful(rows: Sequence[Mapping[str, Any]], folded: Mapping[str, Event]) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of which the compacted state says something else; where there are none, those of which it says nothing."""
    known = [(row, folded.get(str(row.get("event_id")))) for row in rows]
    different = tuple(row for row, event in known if event is not None and not _is_event(row, event))
    return different or tuple(row for row, event in known if event is None)


def _is_event(row: Mapping[str, Any], event: Event) -> bool:
    try:
        return from_rows([row]) == [event]
    except (ValueError, TypeError, KeyError):
        return False
