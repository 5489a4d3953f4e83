"""Where things lie below the archive root, and how an id from an API becomes a path segment."""

from __future__ import annotations

import hashlib
import re
from datetime import date

from resources.model import Leg

RECORDINGS = "recordings"
QUARANTINE = "quarantine"
MANIFESTS = "manifests"
MANIFEST_NAME = "manifest-sha256.txt"
LOSSES_NAME = "lost-events-sha256.txt"
"""Beside a manifest: its lines of event files whose loss was accepted (``recording-archive rebuild --accept-losses``)."""
TAIL = "lake/recording_tail"
"""The event files as runs append them, of all days in one folder: a listing of it costs what is new, not what is old."""
EVENTS = "lake/recording_events"
"""The event files, compacted: one for each day."""
STATES = "lake/recordings"
"""The compacted state: the winning event of each recording, one file for each day."""
LEDGER = "lake/ledger"
"""What a fold publishes beside the states: snapshots, the open recordings, the index of ids."""
AUDITS = "lake/audits"
SIDECAR_SUFFIX = ".json"

# Names that every filesystem and object store keeps apart, also the case-insensitive ones of macOS and Windows.
_PLAIN = re.compile(r"[a-z0-9_-](?:[a-z0-9._-]{0,98}[a-z0-9_-])?")
_NOT_PLAIN = re.compile(r"[^a-z0-9._-]")
_WINDOWS_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")
_READABLE_CHARACTERS = 60
_DIGEST_CHARACTERS = 32
MARK = "~"
"""Stands only in encoded names, so a plain id can never equal an encoded one."""


def safe_id(execution_id: str) -> str:
    """Return a path segment for an id: the id itself where that is safe, otherwise a readable part and a digest.

    Injective: two ids never share a segment (128 bits of SHA-256 stand behind the mark), not even where a filesystem ignores
    case. Never empty, never ``.`` or ``..``, never longer than 100 characters, never with a separator or a control character.
    """
    if _PLAIN.fullmatch(execution_id) and not _WINDOWS_DEVICES.fullmatch(execution_id):
        return execution_id
    digest = hashlib.sha256(execution_id.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    readable = _NOT_PLAIN.sub("_", execution_id.lower())[:_READABLE_CHARACTERS].strip(".")
    if _WINDOWS_DEVICES.fullmatch(readable):
        readable = f"_{readable}"  # Windows takes aux.x~... for the device too
    return f"{readable}{MARK}{digest}"


def partition(provider: str, day: date) -> str:
    """Return the hive-style path of one provider day, ``provider=asteroid/date=2026-11-20``."""
    return f"provider={provider}/date={day.isoformat()}"


def recording_folder(provider: str, day: date, execution_id: str) -> str:
    """Return the folder of an execution's recordings and sidecars."""
    return f"{RECORDINGS}/{partition(provider, day)}/{safe_id(execution_id)}"


def recording_path(provider: str, day: date, execution_id: str, leg: Leg, extension: str, number: int = 1) -> str:
    """Return where a copy of a recording lies; ``extension`` is that of the detected container, without a dot.

    The first copy has no number in its name; one that replaces a damaged copy stands beside it.
    """
    return f"{recording_folder(provider, day, execution_id)}/{copy_stem(leg, number)}.{extension}"


def sidecar_path(provider: str, day: date, execution_id: str, leg: Leg, number: int = 1) -> str:
    """Return where the facts of a recording's copy lie."""
    return f"{recording_folder(provider, day, execution_id)}/{copy_stem(leg, number)}{SIDECAR_SUFFIX}"


def copy_stem(leg: Leg, number: int) -> str:
    """Return the name of a copy and of its sidecar, without their extensions: ``main``, ``main.2``."""
    return leg.value if number == 1 else f"{leg.value}.{number}"


def quarantine_folder(provider: str, day: date, execution_id: str) -> str:
    """Return the folder of what came instead of an execution's recordings."""
    return f"{QUARANTINE}/{partition(provider, day)}/{safe_id(execution_id)}"


def manifest_path(provider: str, day: date) -> str:
    """Return where a partition's checksums lie; the paths in it are relative to the archive root."""
    return f"{MANIFESTS}/{partition(provider, day)}/{MANIFEST_NAME}"


def tail_folder(provider: str) -> str:
    """Return the folder of a provider's event files as runs append them."""
    return f"{TAIL}/provider={provider}"


def events_folder(provider: str, day: date) -> str:
    """Return the folder of a partition's compacted events."""
    return f"{EVENTS}/{partition(provider, day)}"


def audit_path(provider: str) -> str:
    """Return where an audit says how far it has come."""
    return f"{AUDITS}/provider={provider}.json"
