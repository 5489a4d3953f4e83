"""The audit: every archived copy is read back once in a cycle, one part of them each day.

Which part a recording belongs to is a hash of its key, so a part is a fair sample of all days and sizes. How far an audit has
come stands in the root, and moves only after what was found is in the ledger: an audit that is killed, or whose time is over,
goes on there the next time. Two at once read some copies twice, and each goes on where the other one is ahead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import cast

import msgspec
import pyarrow as pa

from assets.recordings import names
from assets.recordings.audit.mending import LOST, Finding, Mender
from assets.recordings.events import Event, from_table
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import State
from assets.recordings.manifest import publish_manifest
from resources.archive import Archive
from resources.arrow import compute as pc
from resources.errors import NotStoredError
from resources.failpoints import Failpoint, reached
from resources.model import Leg, RecordingKey
from resources.storage import ArchiveStorage

_BATCH_COPIES = 64
_BATCH_BYTES = 1024**3
"""After so many copies, or so many bytes, it is written down how far the audit has come."""
_SHARE_OF_THE_LOST = 0.5
"""Of the time of an audit: what earlier ones could not mend never keeps it from the rest."""
_ONE_DAY = timedelta(days=1)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the audit of a provider has come; written to ``lake/audits/``.

    Attributes:
        cycle_days: into how many parts the archive was divided.
        number: of the part since the first audit; the part itself is ``number % cycle_days``.
        day: the UTC day that it belongs to.
        after: the position up to which it is done, in the order of the keys' hashes.
        complete: whether all of it is.
    """

    cycle_days: int
    number: int
    day: date
    after: str = ""
    complete: bool = False

    @property
    def part(self) -> int:
        """Which part of the archive it is, from 0."""
        return self.number % self.cycle_days

    def is_before(self, other: Progress) -> bool:
        """Whether the other one has come further."""
        return (self.number, self.complete, self.after) < (other.number, other.complete, other.after)


@dataclass(slots=True)
class AuditReport:
    """What an audit did.

    Attributes:
        provider: whose copies.
        parts: numbers of the parts that were worked on.
        cycle_days: into how many parts the archive is divided.
        copies, bytes: that were read back.
        findings: the copies that were not what was stored, and what was done.
        is_complete: whether all that was due is done.
        days_behind: how many days' parts are still due, if it is not.
        seconds: how long it took.
    """

    provider: str
    cycle_days: int
    parts: list[int] = field(default_factory=list[int])
    copies: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    is_complete: bool = False
    days_behind: int = 0
    seconds: float = 0.0

    @property
    def mended(self) -> list[Finding]:
        """What was wrong, and is right now."""
        return [finding for finding in self.findings if finding.mended]

    @property
    def unmended(self) -> list[Finding]:
        """What is still wrong."""
        return [finding for finding in self.findings if not finding.mended]


def position(key: RecordingKey) -> str:
    """Return where a recording stands in the order of an audit: 128 bits of a hash, in hex."""
    return hashlib.blake2b(str(key).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def part_of(key: RecordingKey, cycle_days: int) -> int:
    """Return which of so many parts a recording belongs to; the same on every machine, for ever."""
    return int(position(key), 16) % cycle_days


def next_part(known: Progress | None, today: date, cycle_days: int) -> Progress | None:
    """Return what is to be audited now, or None when everything up to ``today`` is done.

    Days without an audit are made up for, at most a whole cycle of them.
    """
    if known is None:
        return Progress(cycle_days=cycle_days, number=0, day=today)
    if known.cycle_days != cycle_days:
        return Progress(cycle_days=cycle_days, number=known.number + 1, day=today)
    if not known.complete:
        return known
    if known.day >= today:
        return None
    day = max(known.day + _ONE_DAY, today - (cycle_days - 1) * _ONE_DAY)
    return Progress(cycle_days=cycle_days, number=known.number + 1, day=day)


def audit(archive: Archive, provider: str, run_id: str) -> AuditReport:
    """Read back what is due, name what is bad or missing, and fetch it again. Safe to kill, to run again, and beside itself.

    Copies that earlier audits could not mend come first. Ends after ``FIXITY_MAX_SECONDS``, between two batches.

    Raises:
        StorageError: the root fails. What was found before is in the ledger.
    """
    return _Audit(archive, provider, run_id).execute()


@dataclass(slots=True)
class _Audit:
    archive: Archive
    provider: str
    run_id: str
    mender: Mender = field(init=False)
    report: AuditReport = field(init=False)
    _started: float = field(init=False)
    _had_their_turn: set[RecordingKey] = field(default_factory=set[RecordingKey])

    def __post_init__(self) -> None:
        self._started = self.archive.runtime.monotonic()
        self.mender = Mender(self.archive, self.provider, self.run_id, self._is_over)
        self.report = AuditReport(self.provider, self.archive.settings.fixity_cycle_days)

    def execute(self) -> AuditReport:
        ledger = Ledger(self.archive.storage)
        self.mender.days |= ledger.tail_days(self.provider)  # one that was killed has published no manifest
        with ThreadPoolExecutor(self.archive.settings.media_concurrency, thread_name_prefix=f"{self.provider}-audit") as pool:
            lost = lost_events(ledger, self.provider)
            self._had_their_turn |= {event.key for event in lost}
            for batch in _batches(lost):
                if not self._is_over(_SHARE_OF_THE_LOST):
                    self._examine(pool, batch)
            self._parts(pool, ledger)
        for day in sorted(self.mender.days):
            publish_manifest(ledger, self.provider, day)
        self.report.seconds = self.archive.runtime.monotonic() - self._started
        return self.report

    def _parts(self, pool: ThreadPoolExecutor, ledger: Ledger) -> None:
        storage, today = self.archive.storage, self.archive.runtime.now().date()
        progress = next_part(read_progress(storage, self.provider), today, self.report.cycle_days)
        while progress is not None and not self._is_over():
            self.report.parts.append(progress.part)
            progress = next_part(self._part(pool, ledger, progress), today, self.report.cycle_days)
        self.report.is_complete = progress is None
        self.report.days_behind = (today - progress.day).days + 1 if progress is not None else 0

    def _part(self, pool: ThreadPoolExecutor, ledger: Ledger, progress: Progress) -> Progress:
        """Go on with one part, until it is done, the time is over, or another audit has come further."""
        of_part = events_of_part(ledger, self.provider, progress.cycle_days, progress.part)
        later = (event for event in of_part if position(event.key) > progress.after)
        todo = [event for event in later if event.key not in self._had_their_turn]
        for batch in _batches(sorted(todo, key=lambda event: position(event.key))):
            if self._is_over():
                return progress
            if position(batch[-1].key) <= progress.after:
                continue  # the other audit's
            self._examine(pool, batch)
            reached(Failpoint.AUDIT_READ)
            mine = msgspec.structs.replace(progress, after=position(batch[-1].key))
            progress = note_progress(self.archive.storage, self.provider, mine)
            reached(Failpoint.AUDIT_NOTED)
            if progress.number != mine.number or progress.complete:
                return progress
        return note_progress(self.archive.storage, self.provider, msgspec.structs.replace(progress, complete=True))

    def _examine(self, pool: ThreadPoolExecutor, batch: Sequence[Event]) -> None:
        try:
            for finding in pool.map(self.mender.examine, batch):
                self.report.copies += 1
                self.report.bytes += finding.bytes
                if finding.fault is not None:
                    self.report.findings.append(finding)
        finally:
            self.mender.flush()

    def _is_over(self, share: float = 1.0) -> bool:
        return self.archive.runtime.monotonic() - self._started >= self.archive.settings.fixity_max_seconds * share


def lost_events(ledger: Ledger, provider: str) -> list[Event]:
    """Return the winning event of every archived recording of a provider whose copy an audit found damaged or missing."""
    flaws = pa.array([flaw.value for flaw in LOST])
    tables = (table.filter(pc.is_in(table["flaw"], value_set=flaws)) for table in _archived(ledger, provider))
    return [event for table in tables for event in from_table(table)]


def events_of_part(ledger: Ledger, provider: str, cycle_days: int, part: int) -> list[Event]:
    """Return the winning event of every archived recording of one part; the others are looked at by their ids alone."""
    found: list[Event] = []
    for table in _archived(ledger, provider):
        ids, legs = (cast("list[str]", table[name].to_pylist()) for name in ("execution_id", "leg"))
        keys = (RecordingKey(provider, name, Leg(leg)) for name, leg in zip(ids, legs, strict=True))
        found += from_table(table.filter(pa.array([part_of(key, cycle_days) == part for key in keys], pa.bool_())))
    return found


def _archived(ledger: Ledger, provider: str) -> Iterator[pa.Table]:
    """Yield what is archived, a partition at a time: everything at once would not fit into memory."""
    for table in ledger.state_tables(provider):
        yield table.filter(pc.equal(table["state"], State.ARCHIVED.value))


def read_progress(storage: ArchiveStorage, provider: str) -> Progress | None:
    """Return how far the audits have come; None where there was none, or where that cannot be read."""
    try:
        return msgspec.json.decode(storage.read(names.audit_path(provider)), type=Progress)
    except (NotStoredError, msgspec.DecodeError):
        return None


def note_progress(storage: ArchiveStorage, provider: str, progress: Progress) -> Progress:
    """Write down how far this audit has come, unless another one has come further; return the furthest."""
    known = read_progress(storage, provider)
    if known is not None and progress.is_before(known) and known.cycle_days == progress.cycle_days:
        return known
    storage.write(names.audit_path(provider), msgspec.json.encode(progress))
    return progress


def _batches(events: Sequence[Event]) -> Iterator[list[Event]]:
    batch: list[Event] = []
    size = 0
    for event in events:
        batch.append(event)
        size += event.copy.bytes if event.copy is not None else 0
        if len(batch) >= _BATCH_COPIES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
