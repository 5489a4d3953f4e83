"""The manifest of a partition: checksums of its recordings, sidecars and event files that ``sha256sum -c`` understands.

Paths are relative to the archive root: ``cd <root> && sha256sum -c manifests/provider=.../date=.../manifest-sha256.txt``.

The lines of recordings and sidecars say what the ledger says, and change with it. A line of an event file is written once and
stays, whatever becomes of the file: the manifest is a witness of the events, not a picture of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date

from assets.recordings import names
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
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


def event_sums(ledger: Ledger, provider: str, day: date, known: Mapping[str, str]) -> dict[str, str]:
    """Return path to SHA-256 of the event files: ``known`` as it is, and those that came since and are what a writer wrote.

    A file that no writer of ours can have written as it is (see :mod:`assets.recordings.ledger.chain`) is never taken in.
    """
    sums = dict(known)
    for path in ledger.event_files(provider, day):
        if path not in sums:
            file = read_event_file(path, ledger.storage.read(path))
            if file.is_own:
                sums[path] = file.sha256
    return sums


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
    partitions = {path.removeprefix(f"{names.EVENTS}/").rpartition("/")[0] for path in gone}
    for partition in sorted(partitions):
        ours = {path: sha for path, sha in gone.items() if path.startswith(f"{names.EVENTS}/{partition}/")}
        known = read_losses(ledger, partition)
        ledger.storage.write(f"{names.MANIFESTS}/{partition}/{names.LOSSES_NAME}", to_bytes(ours | known))


def is_event_file(path: str) -> bool:
    """Return whether a line of a manifest is about an event file."""
    return path.startswith(f"{names.EVENTS}/")


def publish_manifest(ledger: Ledger, provider: str, day: date, *, forget: Collection[str] = ()) -> int:
    """Write the manifest of what the ledger says is archived, and return how many recordings it covers.

    The lines of event files stay, but for those to ``forget``, whose loss was accepted.

    Another run may append at the same time, and write a manifest that knows more than ours: so look again after writing, until
    what was written is what the ledger says.
    """
    written: dict[str, str] | None = None
    recordings: dict[str, str] = {}
    for _ in range(_TRIES):
        stored = read_manifest(ledger, provider, day)
        recordings = recording_sums(ledger.read_day(provider, day).values(), provider, day)
        kept = {path: sha for path, sha in (stored or {}).items() if is_event_file(path) and path not in forget}
        events = event_sums(ledger, provider, day, kept)
        sums = recordings | events
        if sums in (stored or {}, written):
            break
        reached(Failpoint.MANIFEST_ENCODED)
        ledger.storage.write(names.manifest_path(provider, day), to_bytes(sums))
        reached(Failpoint.MANIFEST_WRITTEN)
        written = sums
    return len(recordings) // 2
