"""The manifest of a partition: checksums of its recordings and sidecars that ``sha256sum -c`` understands.

Paths are relative to the archive root: ``cd <root> && sha256sum -c manifests/provider=.../date=.../manifest-sha256.txt``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from assets.recordings import names
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger

_TRIES = 5


def manifest_lines(events: Iterable[Event], provider: str, day: date) -> list[str]:
    """Return the lines of a manifest, sorted by path: two for each archived recording, its sidecar's being the second."""
    lines: list[tuple[str, str]] = []
    for event in events:
        if event.copy is None:
            continue
        lines.append((event.copy.path, event.copy.sha256))
        sidecar = names.sidecar_path(provider, day, event.key.execution_id, event.key.leg)
        lines.append((sidecar, event.copy.sidecar_sha256))
    return [f"{digest}  {path}" for path, digest in sorted(lines)]


def parse_manifest(text: str) -> dict[str, str]:
    """Return path to SHA-256 of a manifest's lines."""
    pairs = (line.split("  ", 1) for line in text.splitlines() if line)
    return {path: digest for digest, path in pairs}


def publish_manifest(ledger: Ledger, provider: str, day: date) -> int:
    """Write the manifest of what the ledger says is archived, and return how many recordings it covers.

    Another run may append at the same time, and write a manifest that knows more than ours: so look again after writing, until
    what was written is what the ledger says.
    """
    path = names.manifest_path(provider, day)
    lines: list[str] = []
    for _ in range(_TRIES):
        known = manifest_lines(ledger.read_day(provider, day).values(), provider, day)
        if known and known == lines:
            break
        lines = known
        data = "".join(f"{line}\n" for line in lines).encode()
        if not lines or (ledger.storage.exists(path) and ledger.storage.read(path) == data):
            break
        ledger.storage.write(path, data)
    return len(lines) // 2
