"""Reading the archive back: does it still hold what the ledger says, and is the ledger what its writers wrote?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import date

from assets.recordings import names
from assets.recordings.audit import evidence
from assets.recordings.audit.compacted import Compacted
from assets.recordings.audit.readback import measure, read_back
from assets.recordings.audit.trail import DayTrail, Trail, TrailFault
from assets.recordings.events import Event, from_rows, winners
from assets.recordings.ledger import Ledger
from assets.recordings.manifest import is_event_file, read_manifest, recording_sums
from resources.errors import StorageError
from resources.model import Leg, RecordingKey

_DAY = re.compile(r"/date=(\d{4}-\d\d-\d\d)/")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One file that was read back; ``fault`` is None when it is what was stored.

    Attributes:
        key: which recording; None for a manifest and for an event file.
        path: relative to the archive root.
        bytes: that were read; 0 for what is no recording.
        fault: what is wrong, in words.
        note: what a person may want to know of a file that is no fault, such as evidence that was kept.
    """

    key: RecordingKey | None
    path: str
    bytes: int
    fault: str | None
    note: str | None = None

    @property
    def is_copy(self) -> bool:
        """Whether it is a recording that the ledger or a manifest stands for, and neither a manifest nor an event file."""
        return self.path.startswith(f"{names.RECORDINGS}/") and self.note is None


def days_of(compacted: Compacted) -> list[date]:
    """Return every partition that anything in the root knows of, ascending: a removed folder is missed by the others."""
    ledger, provider = compacted.ledger, compacted.provider
    found = compacted.parts.keys() | ledger.event_days(provider)
    for tree in (names.MANIFESTS, names.RECORDINGS):
        listed = ledger.storage.list(f"{tree}/provider={provider}")
        found |= {day for info in listed if (day := _day_in(info.path)) is not None}
    return sorted(found)


@dataclass(slots=True)
class Verification:
    """Verifies partitions of one provider, one after the other; each event file is read once.

    Attributes:
        ledger: of the archive.
        provider: whose partitions.
        workers: reads that many recordings at a time; None reads one after the other.
    """

    ledger: Ledger
    provider: str
    workers: Executor | None = None
    _compacted: Compacted = field(init=False)
    _trail: Trail = field(init=False)

    def __post_init__(self) -> None:
        # Before anything else: what it names has to be there, whatever is written meanwhile.
        self._compacted = Compacted.of(self.ledger, self.provider)
        self._trail = Trail(self.ledger, self._compacted)

    def days(self) -> list[date]:
        """Return every partition that anything in the root knows of, ascending: a removed folder is missed by the others."""
        return days_of(self._compacted)

    def check(self, day: date) -> Iterator[Verdict]:
        """Read back every archived copy of a partition, its sidecar, its manifest and its events."""
        provider, manifest = self.provider, read_manifest(self.ledger, self.provider, day)
        compacted = self._compacted.events_of(day)
        trail = self._trail.check_day(provider, day, manifest, compacted)
        for fault in trail.faults:
            yield from _trail_verdicts(fault)
        told, unread = events_of(trail)
        yield from (Verdict(None, path, 0, words) for path, words in unread.items())
        # What was edited in the events or is gone from them may still stand in the compacted state, and the other way round.
        events = winners([*compacted, *(event for of_file in told.values() for event in of_file)])
        yield from self._copies(event for _, event in sorted(events.items()))
        if not trail.faults and not unread:
            yield from self._compare_state(day, compacted, told, trail.packed)
        expected = recording_sums(events.values(), provider, day)
        late = {
            (names.recording_folder(provider, day, event.key.execution_id), event.key.leg)
            for path, of_file in told.items()
            if path not in trail.packed and self._is_newer(path, manifest)
            for event in of_file
        }
        yield from self._compare_manifest(day, expected, manifest, late, events_in_doubt=bool(trail.faults))
        listed = (info.path for info in self.ledger.storage.list(f"{names.RECORDINGS}/{names.partition(provider, day)}"))
        for found in evidence.beside(listed, events.values(), known=expected.keys() | (manifest or {}).keys()):
            yield Verdict(None, found.path, 0, *((found.words, None) if found.is_fault else (None, found.words)))

    def finish(self) -> Iterator[Verdict]:
        """Say what the event files say of each other across partitions."""
        for fault in self._trail.finish():
            yield from _trail_verdicts(fault)

    def _copies(self, events: Iterable[Event]) -> Iterator[Verdict]:
        archived = [event for event in events if event.copy is not None]
        return (self.workers.map if self.workers is not None else map)(self._copy, archived)

    def _copy(self, event: Event) -> Verdict:
        assert event.copy is not None  # noqa: S101 -- only such events come here
        reading = read_back(self.ledger.storage, event.key, event.day, event.copy)
        return Verdict(event.key, event.copy.path, reading.bytes, reading.words)

    def _compare_state(
        self, day: date, compacted: Iterable[Event], told: Mapping[str, list[Event]], packed: Collection[str]
    ) -> Iterator[Verdict]:
        """Compare what runs read, the compacted state and the tail, with what the events alone say."""
        truth = winners(event for of_file in told.values() for event in of_file)
        folded = {*self._compacted.folded, *packed}
        tail = (event for path, of_file in told.items() if path not in folded for event in of_file)
        read = winners([*compacted, *tail])
        for key in sorted(truth.keys() | read.keys()):
            if truth.get(key) != read.get(key):
                words = f"the compacted state of {key} is not what its events say: run `recording-archive rebuild`"
                yield Verdict(key, self._compacted.path_of(day), 0, words)

    def _is_newer(self, path: str, manifest: Mapping[str, str] | None) -> bool:
        """Whether an event file came after the manifest, as while a run is at work; what was folded has come before."""
        return manifest is not None and path not in manifest and path not in self._compacted.folded

    def _compare_manifest(
        self,
        day: date,
        expected: Mapping[str, str],
        manifest: Mapping[str, str] | None,
        late: Collection[tuple[str, Leg]],
        *,
        events_in_doubt: bool,
    ) -> Iterator[Verdict]:
        """Compare the lines of recordings and sidecars; those of recordings with ``late`` events may be missing or old."""
        path = names.manifest_path(self.provider, day)
        if manifest is None:
            if expected:
                yield Verdict(None, path, 0, "the manifest is missing: `recording-archive rebuild` writes it again")
            return
        found = {path: digest for path, digest in manifest.items() if not is_event_file(path)}
        if events_in_doubt:
            # Lines that the ledger does not know may be all that is left of what was edited away or removed.
            for stranger in sorted(found.keys() - expected.keys()):
                yield from self._vouched(stranger, found.pop(stranger))
        lines = sorted(line for line in found.keys() | expected.keys() if found.get(line) != expected.get(line))
        different = [line for line in lines if (name := evidence.name_of(line)) is None or (name.folder, name.leg) not in late]
        if different:
            words = f"the manifest is not what the ledger says of {', '.join(different[:3])}{' ...' if different[3:] else ''}"
            yield Verdict(None, path, 0, f"{words}: `recording-archive rebuild` writes it again")

    def _vouched(self, path: str, digest: str) -> Iterator[Verdict]:
        try:
            size, found = measure(self.ledger.storage, path)
        except StorageError as error:
            yield Verdict(None, path, 0, f"the manifest knows it, and it cannot be read: {error}")
            return
        fault = "its SHA-256 is not the one in the manifest" if found != digest else None
        if fault or not path.endswith(names.SIDECAR_SUFFIX):
            yield Verdict(None, path, size, fault)


def verify_day(ledger: Ledger, provider: str, day: date) -> Iterator[Verdict]:
    """Read back every archived copy of a partition, its sidecar, its manifest and the audit trail of its events."""
    verification = Verification(ledger, provider)
    yield from verification.check(day)
    yield from verification.finish()


def events_of(trail: DayTrail) -> tuple[dict[str, list[Event]], dict[str, str]]:
    """Return the events of each file, and what is wrong with each file that holds what this version cannot read."""
    events: dict[str, list[Event]] = {}
    unread: dict[str, str] = {}
    for path, rows in trail.rows.items():
        try:
            events[path] = from_rows(rows)
        except (ValueError, TypeError, KeyError) as error:
            unread[path] = f"this event file holds what this version cannot read: {error}"
    return events, unread


def _day_in(path: str) -> date | None:
    """Return the partition of a path; None for a folder that is none, which somebody else may have made."""
    found = _DAY.search(path)
    try:
        return date.fromisoformat(found.group(1)) if found is not None else None
    except ValueError:
        return None


def _trail_verdicts(fault: TrailFault) -> Iterator[Verdict]:
    """Name each row that a fault is about; the file alone, where no row can be told."""
    for row in fault.rows:
        whose = "/".join(str(row.get(name)) for name in ("provider", "execution_id", "leg"))
        words = f"{fault.words}: event {row.get('event_id')}, number {row.get('seq')} of {whose}"
        yield Verdict(None, fault.path, 0, words)
    if not fault.rows:
        yield Verdict(None, fault.path, 0, fault.words)
