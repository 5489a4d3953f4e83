"""An archive on local disk compared with what the sandbox says; bytes are compared without the code that is on trial."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from assets.catalog.sources import SEED
from assets.recordings import names
from assets.recordings.audit.verification import verify_day
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from resources.model import Leg, RecordingKey
from resources.providers.registry import PROVIDERS

Row = Mapping[str, Any]
"""One recording of the sandbox's truth."""

ARCHIVED, PENDING = "archived", "pending"
ENDED = frozenset({"archived", "absent", "purged", "failed"})
WAITING = frozenset({"pending", "not_ready"})


def key_of(row: Row) -> RecordingKey:
    """Return which recording a row of the truth is about."""
    return RecordingKey(row["provider"], row["execution_id"], Leg(row["leg"]))


def states_of(ledger: Ledger) -> dict[RecordingKey, str]:
    """Return the state of every recording that the ledger knows."""
    names_wanted = ["provider", "execution_id", "leg", "state"]
    rows = (row for name in PROVIDERS for row in ledger.state_table(name).select(names_wanted).to_pylist())
    return {RecordingKey(row["provider"], row["execution_id"], Leg(row["leg"])): row["state"] for row in rows}


def unsettled(ledger: Ledger, truth: Iterable[Row]) -> list[Row]:
    """Return the recordings to which something may still happen: not those that ended, or wait for what never comes."""
    coming = {key_of(row): row for row in truth if PENDING not in row["final_states"]}
    waiting = [coming[key] for name in PROVIDERS for key in ledger.read_open(name) if key in coming]
    if waiting:  # the open ones are read in no time, all of them are not
        return waiting
    states = states_of(ledger)
    return [row for key, row in coming.items() if states.get(key) not in ENDED]


def differences(ledger: Ledger, root: Path, truth: Iterable[Row]) -> list[str]:
    """Return in words whatever is not as it should be: nothing, after a run that archived everything.

    Every recording that can be archived is archived with the SHA-256 of the truth, read back from disk, and there once; the
    others are in a state that the truth accepts; nothing else lies there; ledger, sidecars and manifests agree with the disk.
    """
    rows = {key_of(row): row for row in truth}
    events = {key: event for name in PROVIDERS for day in ledger.days(name) for key, event in ledger.read_day(name, day).items()}
    found = [f"{key}: the ledger knows a recording that does not exist" for key in events.keys() - rows.keys()]
    for key, row in rows.items():
        found += [f"{key} ({row['scenario']}): {words}" for words in _differences_of(events.get(key), row)]
    found += _on_disk(root, [event for event in events.values() if event.copy is not None])
    found += _in_manifests(root)
    verdicts = (item for name in PROVIDERS for day in ledger.days(name) for item in verify_day(ledger, name, day))
    return found + [f"{item.path}: {item.fault}" for item in verdicts if item.fault]


def _differences_of(event: Event | None, row: Row) -> Iterator[str]:
    if event is None:
        yield "the ledger does not know it"
        return
    state = event.life.state.value
    accepted = {*row["final_states"]} | (WAITING if PENDING in row["final_states"] else set[str]())
    if state not in accepted:
        why = f"{event.life.attempts} attempts, {event.outcome}: {event.detail}"
        yield f"is {state} ({why}), and should be {sorted(accepted)}"
    if state == ARCHIVED and (event.copy is None or event.copy.sha256 != row["sha256"] or event.copy.bytes != row["length"]):
        yield f"is archived as other bytes than it has: {event.copy}"


def _on_disk(root: Path, archived: Iterable[Event]) -> Iterator[str]:
    """Compare the files with the ledger, whose hashes were compared with the truth before."""
    folder = root / names.RECORDINGS
    files = {path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file()} if folder.exists() else set[str]()
    expected: set[str] = set()
    for event in archived:
        copy, key = event.copy, event.key
        if copy is None:
            continue
        expected |= {copy.path, names.sidecar_path(key.provider, event.day, key.execution_id, key.leg, copy.number)}
        if copy.path in files and _sha256(root / copy.path) != copy.sha256:
            yield f"{copy.path}: its bytes are not those of the ledger"
    yield from (f"{path}: the ledger says that it is there" for path in sorted(expected - files))
    yield from (f"{path}: the ledger does not know of it" for path in sorted(files - expected))
    temporary = root / ".tmp"
    left = sorted(temporary.iterdir()) if temporary.exists() else []
    yield from (f"{path.relative_to(root)}: was left behind" for path in left if path.is_file() and path.stat().st_size)


def _in_manifests(root: Path) -> Iterator[str]:
    """Do what ``sha256sum -c`` does, and look for files that no manifest names."""
    listed: set[str] = set()
    for manifest in sorted((root / names.MANIFESTS).rglob(names.MANIFEST_NAME)):
        for line in manifest.read_text(encoding="utf-8").splitlines():
            digest, _, path = line.partition("  ")
            listed.add(path)
            if not (root / path).is_file() or _sha256(root / path) != digest:
                yield f"{path}: is not what {manifest.relative_to(root)} says"
    for folder in (names.RECORDINGS, names.TAIL, names.EVENTS):
        there = {path.relative_to(root).as_posix() for path in (root / folder).rglob("*") if path.is_file()}
        there.difference_update(f"{names.tail_folder(name)}/{SEED}" for name in PROVIDERS)
        yield from (f"{path}: no manifest names it" for path in sorted(there - listed))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
