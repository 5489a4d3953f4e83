"""What has to be true of an archive after a process died in it, and once another one has run to its end."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from assets.catalog.sources import SEED
from assets.recordings.audit.verification import verify_day
from assets.recordings.ledger import Ledger
from resources.model import Leg, RecordingKey
from resources.storage import open_storage
from tests.end_to_end.truth import ask, assert_right, assert_whole, media_files, place_at
from tests.survival.places import Identity, Place

Fetched = Mapping[str, int]
"""How often each execution's recording was asked of the media host."""


def check_wreck(place: Place, truth: Sequence[Mapping[str, Any]]) -> dict[str, Identity]:
    """Check what a killed process left: every visible recording is whole. Return what is published."""
    assert_whole(place.look(), truth)
    return place.identities()


def check_readers(place: Place, truth: Sequence[Mapping[str, Any]]) -> None:
    """Check what readers are told who come to a whole archive while a process is at work in it, or died there."""
    root = place.look()
    _check_nothing_lost(root, truth)
    _check_ledger(root)
    _check_asked_one_by_one(root, truth)
    assert_right(root, truth)


def check_ended(
    place: Place,
    truth: Sequence[Mapping[str, Any]],
    published: Mapping[str, Identity],
    before: Fetched,
    after: Fetched,
) -> None:
    """Check an archive after a run that was not killed.

    Args:
        place: where it is.
        truth: what the world says that it should hold.
        published: what the killed run had published.
        before: the media host's counts when it was killed.
        after: and now.
    """
    root = place.look()
    _check_nothing_lost(root, truth)
    _check_nothing_twice(place, published, before, after)
    _check_sidecars(root)
    _check_ledger(root)
    _check_manifests(root)
    leftovers = place.unfinished()
    assert not leftovers, f"left half-written: {leftovers}"
    assert_right(root, truth)


def _check_nothing_lost(root: Path, truth: Sequence[Mapping[str, Any]]) -> None:
    states = dict(ask(root / "archive.duckdb", "SELECT execution_id, state FROM recordings"))
    lost = {name: state for name, state in states.items() if state != "archived"}
    assert not lost, f"lost: {lost}"
    assert len(states) == len(truth), "lost: not in the ledger"


def _check_nothing_twice(place: Place, published: Mapping[str, Identity], before: Fetched, after: Fetched) -> None:
    now = place.identities()
    changed = {name for name, identity in published.items() if now.get(name) != identity}
    assert not changed, f"written twice: {changed}"
    again = {name for name in published if after[name.split("/")[3]] != before[name.split("/")[3]]}
    assert not again, f"fetched twice: {again}"


def _check_sidecars(root: Path) -> None:
    for path in media_files(root):
        sidecar = path.with_suffix(".json")
        assert sidecar.exists(), f"no sidecar: {path}"
        facts = json.loads(sidecar.read_text())
        data = path.read_bytes()
        assert (facts["path"], facts["bytes"], facts["sha256"]) == (
            path.relative_to(root).as_posix(),
            len(data),
            hashlib.sha256(data).hexdigest(),
        ), f"the sidecar is not of its recording: {path}"


def _check_ledger(root: Path) -> None:
    """The ledger, read by the archive's own code and through the catalog, says what is there."""
    told = ask(root / "archive.duckdb", "SELECT path, bytes, sha256 FROM recordings ORDER BY path")
    there = [(path, path.read_bytes()) for path in media_files(root)]
    assert told == [(path.relative_to(root).as_posix(), len(data), hashlib.sha256(data).hexdigest()) for path, data in there], (
        "ledger and storage do not agree"
    )
    ledger = Ledger(open_storage(str(root)))
    for provider in {place_at(root, path)[0] for path, _ in there}:
        faults = [each.fault for day in ledger.days(provider) for each in verify_day(ledger, provider, day) if each.fault]
        assert not faults, f"verify: {faults}"


def _check_asked_one_by_one(root: Path, truth: Sequence[Mapping[str, Any]]) -> None:
    """By its day and by its id, the ledger knows each recording as archived, with the bytes of the truth."""
    ledger = Ledger(open_storage(str(root)))
    for row in truth:
        key = RecordingKey(row["provider"], row["execution_id"], Leg(row["leg"]))
        of_day = ledger.read_day(key.provider, date.fromisoformat(row["date"]))
        for told in (of_day, ledger.find(key.provider, key.execution_id)):
            copy = told[key].copy if key in told else None
            assert copy is not None, f"the ledger does not know {key} as archived"
            assert copy.sha256 == row["sha256"], f"another recording: {key}"


def _check_manifests(root: Path) -> None:
    """Every recording, sidecar and event file is in a manifest, and ``sha256sum -c`` finds them as they were."""
    manifests = sorted((root / "manifests").rglob("*.txt"))
    listed = {line.partition("  ")[2] for path in manifests for line in path.read_text().splitlines()}
    there = {
        path.relative_to(root).as_posix()
        for folder in ("recordings", "lake/recording_tail", "lake/recording_events")
        for path in (root / folder).rglob("*")
        if path.is_file() and path.name != SEED
    }
    assert listed == there, f"not in a manifest: {there - listed}; in a manifest only: {listed - there}"
    summed = subprocess.run(  # noqa: S603 -- the system's own program
        ["/usr/bin/env", "sha256sum", "-c", "--quiet", *(str(path.resolve()) for path in manifests)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert summed.returncode == 0, f"sha256sum: {summed.stdout}{summed.stderr}"
