"""The manifest of a partition: checksums of its recordings, sidecars and event files that ``sha256sum -c`` understands.

Paths are relative to the archive root: ``cd <root> && sha256sum -c manifests/provider=.../date=.../manifest-sha256.txt``.

The lines of recordings and sidecars say what the ledger says, and change with it. A line of an event file is written once and
stays, whatever becomes of the file: the manifest is a witness of the events, not a picture of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from assets.recordings import names
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger, places
from assets.recordings.ledger.chain import read_event_file
from assets.recordings.ledger.reading import Look
from assets.recordings.ledger.upcoming import DAYS_AT_ONCE
from resources.errors import NotStoredError
from resources.failpoints import Failpoint, reached
from resources.model import Leg

_TRIES = 5
_COLUMNS = ("execution_id", "leg", "path", "sha256", "sidecar_sha256", "number")
"""What the lines of a recording and of its sidecar are made of."""


def recording_sums(events: Iterable[Event], provider: str, day: date) -> dict[str, str]:
    """Return path to SHA-256 of the archived recordings and their sidecars, as events say it that the caller has."""
    copies = ((event.key, event.copy) for event in events if event.copy is not None)
    rows = ((key.execution_id, key.leg, each.path, each.sha256, each.sidecar_sha256, each.number) for key, each in copies)
    return _sums(rows, provider, day)


def _recording_sums(ledger: Ledger, provider: str, day: date, look: Look) -> dict[str, str]:
    """Return the same as the ledger knows it. A row of the columns that it takes costs a fifth of an event."""
    return _sums(ledger.read_columns(provider, day, _COLUMNS, look), provider, day)


def _sums(rows: Iterable[tuple[Any, ...]], provider: str, day: date) -> dict[str, str]:
    """Return path to SHA-256 of the copies and sidecars in rows of :data:`_COLUMNS`; those without a path have no copy."""
    sums: dict[str, str] = {}
    for execution_id, leg, path, sha256, sidecar_sha256, number in rows:
        if path:
            sums[path] = sha256
            # Files from before copies were counted have no number: theirs is the first.
            sums[names.sidecar_path(provider, day, execution_id, Leg(leg), 1 if number is None else number)] = sidecar_sha256
    return sums


@dataclass(frozen=True, slots=True)
class _Compacted:
    """What of a file of compacted events matters here, without its rows: they would be in memory for many days at once."""

    path: str
    sha256: str
    is_own: bool
    said: frozenset[str]


@dataclass(slots=True)
class _EventLines:
    """The lines of a partition's files of events. Looking again reads what is new alone: those files never change.

    Attributes:
        ledger: of the archive.
        provider: whose.
        day: which partition.
        leaving: files that are about to be removed, because others stand for them.
    """

    ledger: Ledger
    provider: str
    day: date
    leaving: Collection[str]
    _history: _Compacted | None = None

    def sums(self, known: Mapping[str, str], look: Look) -> dict[str, str]:
        """Return path to SHA-256: ``known`` as it is, and those that came since and are what a writer wrote.

        A file that no writer of ours can have written as it is (see :mod:`assets.recordings.ledger.chain`) is never taken in.
        Once a file of compacted events stands for others, their lines go when they do: then its own line is there.

        Args:
            known: the lines of files of events in the stored manifest.
            look: what is there.
        """
        sums = dict(known)
        listed = look.event_files(self.day)
        new = [path for path in listed if path not in known]
        part = self.ledger.partitions_of(look.taken).get(self.day)
        current = part.history if part is not None else None
        gone = {path for path in known if path not in listed and path != current} | set(self.leaving)
        replaced = set[str]()
        if current is not None and (current not in known or not gone.isdisjoint([*known, *new])):
            history = self._read_history(current)
            if history.is_own and sums.setdefault(history.path, history.sha256) == history.sha256:
                replaced = {path for path in gone if path in history.said or is_replaced_by(history.path, path)}
        for path in new:
            if path not in replaced and (digest := self._own_sha256(path)) is not None:
                sums[path] = digest
        return {path: digest for path, digest in sums.items() if path not in replaced}

    def _own_sha256(self, path: str) -> str | None:
        """Return the SHA-256 of an event file; None where it is not what a writer wrote, or gone."""
        try:
            file = read_event_file(path, self.ledger.storage.read(path))
        except NotStoredError:  # a compaction is removing it: others stand for it
            return None
        return file.sha256 if file.is_own else None

    def _read_history(self, path: str) -> _Compacted:
        if self._history is None or self._history.path != path:
            history = self.ledger.read_history(path)
            self._history = _Compacted(path, history.sha256, history.is_own, frozenset(history.said))
        return self._history


def is_replaced_by(current: str, path: str) -> bool:
    """Return whether a file of compacted events was made before the ``current`` one, which took its rows over."""
    return places.is_history(path) and places.generation_of_history(path) < places.generation_of_history(current)


def to_bytes(sums: Mapping[str, str]) -> bytes:
    """Return a manifest's text, sorted by path."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items())).encode()


def parse_manifest(text: str) -> dict[str, str]:
    """Return path to SHA-256 of a manifest's lines; a line that is none is left out."""
    pairs = (line.partition("  ") for line in text.splitlines())
    return {path: digest for digest, _, path in pairs if path}


def read_manifest(ledger: Ledger, provider: str, day: date) -> dict[str, str] | None:
    """Return path to SHA-256 of the stored manifest, or None where there is none."""
    try:
        data = ledger.storage.read(names.manifest_path(provider, day))
    except NotStoredError:
        return None
    return parse_manifest(data.decode(errors="replace"))


def read_losses(ledger: Ledger, partition: str) -> dict[str, str]:
    """Return path to SHA-256 of the partition's event files whose loss an operator has accepted."""
    try:
        data = ledger.storage.read(f"{names.MANIFESTS}/{partition}/{names.LOSSES_NAME}")
    except NotStoredError:
        return {}
    return parse_manifest(data.decode(errors="replace"))


def accept_losses(ledger: Ledger, gone: Mapping[str, str]) -> None:
    """Write down, beside the manifests, which event files (path to SHA-256) are gone for good, with what is written there."""
    for partition in sorted({places.partition_of(path) for path in gone}):
        ours = {path: sha for path, sha in gone.items() if places.partition_of(path) == partition}
        known = read_losses(ledger, partition)
        ledger.storage.write(f"{names.MANIFESTS}/{partition}/{names.LOSSES_NAME}", to_bytes(ours | known))


def is_event_file(path: str) -> bool:
    """Return whether a line of a manifest is about an event file."""
    return path.startswith((f"{names.EVENTS}/", f"{names.TAIL}/"))


def publish_manifest(
    ledger: Ledger, provider: str, day: date, *, forget: Collection[str] = (), leaving: Collection[str] = ()
) -> int:
    """Write the manifest of what the ledger says is archived, and return how many recordings it covers.

    The lines of event files stay, but for those to ``forget``, whose loss was accepted, and of those that compacted events stand
    for and that are gone or ``leaving``.
    """
    return _publish(ledger, provider, [_Making(_EventLines(ledger, provider, day, leaving), forget)])


def publish_manifests(
    ledger: Ledger, provider: str, days: Iterable[date], *, leaving: Mapping[date, Collection[str]] | None = None
) -> None:
    """Write the manifests of many days, whose looks at the ledger are shared; see :func:`publish_manifest`."""
    ordered, going = sorted(days), leaving or {}
    for first in range(0, len(ordered), DAYS_AT_ONCE):
        some = ordered[first : first + DAYS_AT_ONCE]
        _publish(ledger, provider, [_Making(_EventLines(ledger, provider, day, going.get(day, ()))) for day in some])


@dataclass(slots=True)
class _Making:
    """A manifest in the making.

    Attributes:
        lines: of its event files.
        forget: event files whose lines go.
        known: the lines of event files that were stored when it was read last.
        stored: digest of the manifest that was; None where there is none.
        written: digest of what was written last; None before that.
        recordings: how many the manifest covers.
    """

    lines: _EventLines
    forget: Collection[str] = ()
    known: Mapping[str, str] = field(default_factory=dict[str, str])
    stored: str | None = None
    written: str | None = None
    recordings: int = 0

    def read(self) -> None:
        """Read the stored manifest. Of its lines those of recordings are not kept: there are many, and the ledger knows them."""
        found = read_manifest(self.lines.ledger, self.lines.provider, self.lines.day)
        self.stored = _digest(found) if found is not None else None
        self.known = {path: sha for path, sha in (found or {}).items() if is_event_file(path) and path not in self.forget}

    def is_right(self, look: Look) -> bool:
        """Return whether the stored manifest says what there is by a look that is younger; else write it, if it is still that.

        Raises:
            NotStoredError: something that the look saw is gone since.
        """
        ledger, provider, day = self.lines.ledger, self.lines.provider, self.lines.day
        recordings = _recording_sums(ledger, provider, day, look)
        self.recordings = len(recordings) // 2
        sums = recordings | self.lines.sums(self.known, look)
        digest = _digest(sums)
        if digest in (self.stored or _NOTHING, self.written):
            return True
        before = self.stored
        self.read()
        if self.stored == before:  # else another run has written what this look may not know
            reached(Failpoint.MANIFEST_ENCODED)
            ledger.storage.write(names.manifest_path(provider, day), to_bytes(sums))
            reached(Failpoint.MANIFEST_WRITTEN)
            self.written = digest
        return False


def _publish(ledger: Ledger, provider: str, wanted: Sequence[_Making]) -> int:
    """Write manifests, and return how many recordings they cover.

    Another run may append at the same time, and write a manifest that knows more than ours: so look again after writing, until
    what was written is what the ledger says. The days share each look, which is younger than what they have read and written.
    """
    left = list(wanted)
    for tries in range(1, _TRIES + 1):
        for each in left:
            each.read()
        look = ledger.look(provider, [each.lines.day for each in left])
        left = [each for each in left if not _is_right(each, look, is_last=tries == _TRIES)]
        if not left:
            break
    return sum(each.recordings for each in wanted)


def _is_right(each: _Making, look: Look, *, is_last: bool) -> bool:
    try:
        return each.is_right(look)
    except NotStoredError:  # folds have gone on meanwhile, and newer files are there
        if is_last:
            raise
        return False


def _digest(sums: Mapping[str, str]) -> str:
    return hashlib.sha256(to_bytes(sums)).hexdigest()


_NOTHING = _digest({})
"""Where there is nothing to say, none is written."""
