"""Reading the audit trail back: was an event file edited, removed or put there by somebody else?

Three witnesses stand for an event file: what it says of itself (its path, a digest of each row), the writer's next file (which
holds its hash), and the manifest of its partition. One that disagrees is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from assets.recordings.chain import EventFile, read_event_file
from assets.recordings.ledger import Ledger
from assets.recordings.manifest import is_event_file
from resources.errors import NotStoredError

_NOT_OURS = "this event file was put there by somebody else: no writer of the archive says that it is its own"


@dataclass(frozen=True, slots=True)
class TrailFault:
    """What is wrong with one event file, in words, and the rows that it is about, where they can be told."""

    path: str
    words: str
    rows: tuple[Mapping[str, Any], ...] = ()


def check_trail(ledger: Ledger, provider: str, day: date, manifest: Mapping[str, str] | None) -> Iterator[TrailFault]:
    """Compare the event files of a partition with what they say of themselves, with each other, and with the manifest.

    Args:
        ledger: of the archive.
        provider: whose partition.
        day: which one.
        manifest: path to SHA-256 of the partition's stored manifest, or None where there is none.

    A file that is newer than the manifest and is what its writer wrote is no fault: a run may be at work.
    """
    listed = {path: _read(ledger, path) for path in ledger.event_files(provider, day)}
    told: set[str] = set()
    for path, digest in sorted((manifest or {}).items()):
        if not is_event_file(path):
            continue
        file = listed.get(path)
        if file is None:
            yield TrailFault(path, "this event file was removed: the manifest knows it")
            told.add(path)
        elif file.sha256 != digest:
            yield _edited(file)
            told.add(path)
    for path, file in listed.items():
        if path not in told and not file.is_own and path not in (manifest or {}):
            yield _edited(file) if file.link is not None and file.link.path == path else _foreign(file)
            told.add(path)
    for file in listed.values():
        yield from _check_previous(ledger, file, listed, told)


def _check_previous(ledger: Ledger, file: EventFile, listed: Mapping[str, EventFile], told: set[str]) -> Iterator[TrailFault]:
    """Check the file that its writer wrote before this one; it may lie in another partition."""
    link = file.link
    if link is None or not link.previous or link.previous in told:
        return
    try:
        before = listed.get(link.previous) or _read(ledger, link.previous)
    except NotStoredError:
        told.add(link.previous)
        yield TrailFault(link.previous, f"this event file was removed: its writer's next one knows it ({file.path})")
        return
    if before.sha256 != link.previous_sha256:
        told.add(link.previous)
        yield _edited(before)


def _read(ledger: Ledger, path: str) -> EventFile:
    return read_event_file(path, ledger.storage.read(path))


def _edited(file: EventFile) -> TrailFault:
    if file.rows is None:
        return TrailFault(file.path, "this event file was damaged: it is not Parquet any more")
    if file.link is None:
        return TrailFault(
            file.path, "this event file was written again by somebody else: which rows were changed cannot be told", file.rows
        )
    strange = tuple(file.strange_rows)
    if not strange and not file.lost_rows:
        return TrailFault(file.path, "this event file was written again: its bytes are not those that were stored, its rows are")
    words = f"this event file was edited: {len(strange)} rows are not as written, {file.lost_rows} written ones are gone"
    return TrailFault(file.path, words, strange)


def _foreign(file: EventFile) -> TrailFault:
    copied = f"; it is a copy of {file.link.path}" if file.link is not None else ""
    return TrailFault(file.path, f"{_NOT_OURS}{copied}", file.rows or ())
