"""The manifest of a partition: checksums of its recordings, sidecars and event files that ``sha256sum -c`` understands.

Paths are relative to the archive root: ``cd <root> && sha256sum -c manifests/provider=.../date=.../manifest-sha256.txt``.

The lines of recordings and sidecars say what the ledger says, and change with it. A line of an event file is written once and
stays, whatever becomes of the file: the manifest is a witness of the events, not a picture of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import date

from assets.recordings import names
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger, places
from assets.recordings.ledger.chain import read_event_file
from resources.errors import NotStoredError
from resources.failpoints import Failpoint, reached

_TRIES = 5


def recording_sums(events: Iterable[Event], provider: str, day: date) -> dict[str, str]:
    """Return path to SHA-256 of the archived recordings and their sidecars, as the ledger knows them."""
    sums: dict[str, str] = {}
    for event in events:
        if event.copy is not None:
            sums[event.copy.path] = event.copy.sha256
            key, copy = event.key, event.copy
            sums[names.sidecar_path(provider, day, key.execution_id, key.leg, copy.number)] = copy.sidecar_sha256
    return sums


def event_sums(
    ledger: Ledger, provider: str, day: date, known: Mapping[str, str], leaving: Collection[str] = ()
) -> dict[str, str]:
    """Return path to SHA-256 of the files of events: ``known`` as it is, and those that came since and are what a writer wrote.

    A file that no writer of ours can have written as it is (see :mod:`assets.recordings.ledger.chain`) is never taken in. Once a
    file of compacted events stands for others, their lines go when they do: then its own line is there.

    Args:
        ledger: of the archive.
        provider: whose.
        day: which partition.
        known: the lines of files of events in the stored manifest.
        leaving: files that are about to be removed, because others stand for them.
    """
    sums = dict(known)
    listed = ledger.event_files(provider, day)
    for path in listed:
        if path not in sums:
            with suppress(NotStoredError):  # a compaction is removing it: others stand for it
                file = read_event_file(path, ledger.storage.read(path))
                if file.is_own:
                    sums[path] = file.sha256
    part = ledger.partitions(provider).get(day)
    if part is None or part.history is None:
        return sums
    gone = {path for path in sums if path not in listed and path != part.history} | set(leaving)
    if part.history in sums and not gone & sums.keys():
        return sums
    history = ledger.read_history(part.history)
    if history.is_own and sums.setdefault(history.path, history.sha256) == history.sha256:
        stands_for = history.said.keys() | {path for path in sums if is_replaced_by(history.path, path)}
        sums = {path: digest for path, digest in sums.items() if path not in gone or path not in stands_for}
    return sums


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

    Another run may append at the same time, and write a manifest that knows more than ours: so look again after writing, until
    what was written is what the ledger says.
    """
    written: dict[str, str] | None = None
    recordings: dict[str, str] = {}
    for _ in range(_TRIES):
        stored = read_manifest(ledger, provider, day)
        recordings = recording_sums(ledger.read_day(provider, day).values(), provider, day)
        kept = {path: sha for path, sha in (stored or {}).items() if is_event_file(path) and path not in forget}
        events = event_sums(ledger, provider, day, kept, leaving)
        sums = recordings | events
        if sums in (stored or {}, written):
            break
        reached(Failpoint.MANIFEST_ENCODED)
        ledger.storage.write(names.manifest_path(provider, day), to_bytes(sums))
        reached(Failpoint.MANIFEST_WRITTEN)
        written = sums
    return len(recordings) // 2
