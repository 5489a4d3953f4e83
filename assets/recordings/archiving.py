"""Archiving what is due in one partition: fresh link, transfer, verification, publication, facts, event.

The order makes a kill at any instant harmless. The recording appears whole or not at all; then its sidecar; then its event. A
later run finds a recording that has no event yet, and adopts it without asking the provider.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from http import HTTPStatus
from uuid import uuid4

from assets.recordings import adoption, quarantine
from assets.recordings.buffer import EventBuffer
from assets.recordings.copying import Copier
from assets.recordings.duration import Tolerance, flaw_of
from assets.recordings.errand import Errand
from assets.recordings.events import Copy, Event, Flaw
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Fact, Outcome, Policy, State, is_due, transition
from assets.recordings.manifest import publish_manifest
from assets.recordings.outcomes import fact_of
from assets.recordings.report import DayReport, Fault, Mismatch
from resources.archive import Archive
from resources.errors import (
    AbsentError,
    BlockedError,
    NotMediaError,
    RateLimitedError,
    RecordingError,
    StorageError,
)
from resources.model import RecordingKey
from resources.patience import Patience
from resources.providers.protocol import Provider
from resources.redaction import redact

PROOFS = frozenset({Outcome.ARCHIVED, Outcome.NOT_READY})
"""Outcomes that a wrong base URL cannot give."""

_REFUSED_IN_A_ROW = 3
_STORAGE_FAULTS_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Selection:
    """Which recordings of a partition a run takes up; by default those that are due.

    Attributes:
        execution_ids: only these, and these also when they are not due yet; empty means no limit.
        retry_failed: also those that ended without a copy (failed, absent, purged, blocked): they are requeued first.
        dry_run: ask nothing, write nothing, and report what would be taken up.
    """

    execution_ids: frozenset[str] = frozenset()
    retry_failed: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Result:
    """What one try gave: a fact, or the error to make it from later, and the copy if there is one."""

    fact: Fact
    error: RecordingError | None = None
    copy: Copy | None = None
    seconds: float | None = None
    detail: str | None = None


@dataclass(slots=True)
class RunMemory:
    """What a run has learnt about its provider and its root; its partitions share it.

    Attributes:
        stop: why the rest of the run asks nothing more: the operator's fault, or a pause longer than a run should wait.
        base_proved: True once this base URL has led to a recording or to a "not ready".
        refused: recordings that the key may not see (403), in a row.
        storage_faults: objects that the root refused, in a row.
        swept: whether the run has removed what dead runs left half-written.
    """

    stop: _Result | None = None
    base_proved: bool = False
    refused: int = 0
    storage_faults: int = 0
    swept: bool = False


def archive_day(
    archive: Archive,
    provider_name: str,
    day: date,
    run_id: str,
    selection: Selection | None = None,
    memory: RunMemory | None = None,
) -> DayReport:
    """Archive what is due in one partition and return what happened.

    One bad recording never fails its neighbours: its outcome is an event. Safe to run again, and beside itself.

    Raises:
        SettingsError: the provider is off or wrongly set.
        StorageError: the root failed. What was learnt before is written if that is still possible; nothing is half-published.
    """
    provider = archive.provider(provider_name)
    run = _DayRun(archive, provider, day, run_id, selection or Selection(), memory or RunMemory())
    return run.execute()


@dataclass(slots=True)
class _DayRun:
    archive: Archive
    provider: Provider
    day: date
    run_id: str
    selection: Selection
    memory: RunMemory
    ledger: Ledger = field(init=False)
    policy: Policy = field(init=False)
    patience: Patience = field(init=False)
    buffer: EventBuffer = field(init=False)
    report: DayReport = field(init=False)
    copier: Copier = field(init=False)
    orphans: dict[RecordingKey, str] = field(default_factory=dict[RecordingKey, str])
    _tolerance: Tolerance = field(init=False)
    _known: dict[RecordingKey, Event] = field(default_factory=dict[RecordingKey, Event])
    _fault: BaseException | None = None
    _doubtful: list[tuple[Event, _Result]] = field(default_factory=list[tuple[Event, _Result]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        runtime = self.archive.runtime
        self.ledger = Ledger(self.archive.storage)
        self.policy = Policy.from_settings(self.archive.settings)
        self._tolerance = Tolerance.from_settings(self.archive.settings)
        self.patience = Patience.from_settings(self.archive.settings, runtime.sleep)
        self.buffer = EventBuffer(self.ledger, runtime.now, runtime.monotonic)
        self.report = DayReport(self.provider.name, self.day)
        self.copier = Copier(self.archive, self.provider, self._count_link)

    def execute(self) -> DayReport:
        started = self.archive.runtime.monotonic()
        events = self._known = self.ledger.read_day(self.provider.name, self.day)
        self.report.known = len(events)
        unarchived = [event for event in events.values() if event.life.state is not State.ARCHIVED]
        self.report.already_archived = len(events) - len(unarchived)
        self.orphans = adoption.find_orphans(self.archive.storage, self.provider.name, self.day, unarchived)
        due = self._due(unarchived)
        self.report.due = len(due)
        if self.selection.dry_run:
            self.report.dry_run = True
            self.report.states.update(event.life.state for event in due)
            self._look_at_lengths()
            return self.report
        self._sweep()
        if due:
            self._work(due)
        self._look_at_lengths()
        publish_manifest(self.ledger, self.provider.name, self.day)
        self.report.seconds = self.archive.runtime.monotonic() - started
        return self.report

    def _sweep(self) -> None:
        """Remove what dead runs left half-written, once a run; never what a living one writes."""
        if not self.memory.swept:
            self.memory.swept = True
            with contextlib.suppress(StorageError):  # tidying up is no reason to fail: what is wrong with the root shows soon
                self.archive.storage.sweep()

    def _look_at_lengths(self) -> None:
        """Report how the partition's copies play, those that were archived before included."""
        for key, event in sorted(self._known.items()):
            if event.copy is None:
                continue
            self.report.copies += 1
            self.report.unknown_lengths += event.copy.media_seconds is None
            if event.flaw is Flaw.DURATION:
                mismatch = Mismatch(
                    key.execution_id, key.leg.value, event.copy.media_seconds, event.expected_seconds, event.copy.path
                )
                self.report.mismatches.append(mismatch)

    # -- what is due

    def _due(self, events: Iterable[Event]) -> list[Event]:
        now = self.archive.runtime.now()
        wanted = self.selection.execution_ids
        due: list[Event] = []
        for event in sorted(events, key=lambda event: event.key):
            if wanted and event.key.execution_id not in wanted:
                continue
            if event.key in self.orphans:
                due.append(event)
            elif (event.life.terminal or event.life.state is State.BLOCKED) and self.selection.retry_failed:
                due.append(event if self.selection.dry_run else self._requeue(event))
            elif is_due(event.life, now) or (wanted and not event.life.terminal):
                due.append(event)
        return due

    def _requeue(self, event: Event) -> Event:
        return self._record(event, _Result(Fact(Outcome.REQUEUED), detail="asked for again by an operator"))

    # -- the work

    def _work(self, due: list[Event]) -> None:
        workers = min(self.archive.settings.media_concurrency, len(due))
        try:
            with ThreadPoolExecutor(workers, thread_name_prefix=f"{self.provider.name}-media") as pool:
                for _ in pool.map(self._take_up, due):
                    pass
            self._settle_doubtful()
        finally:
            self.buffer.flush()
        if self._fault is not None:
            raise self._fault

    def _take_up(self, event: Event) -> None:
        """Do one recording; runs in a worker thread. Only an archive root that goes on failing stops the others."""
        if self._fault is not None:
            return
        try:
            stopped = None if event.key in self.orphans else self.memory.stop
            if stopped is not None and stopped.fact.outcome is Outcome.BLOCKED and event.life.state is State.BLOCKED:
                self._note(event, event)  # it was not asked and knows it: a weekend of a wrong key would be a million events
                return
            result = stopped or self._try(event)
            if isinstance(result.error, AbsentError) and not result.error.certain:
                with self._lock:
                    self._doubtful.append((event, result))
                return
            self._finish(event, result)
        except Exception as fault:  # noqa: BLE001 -- kept for the main thread: it is raised there after the flush
            with self._lock:
                self._fault = self._fault or fault

    def _finish(self, event: Event, result: _Result) -> None:
        self._note(event, self._record(event, result))

    def _note(self, event: Event, after: Event) -> None:
        """Count in the report what became of a recording."""
        with self._lock:
            self.report.states[after.life.state] += 1
            if after.life.state is not State.ARCHIVED:
                self.report.faults.append(
                    Fault(
                        event.key.execution_id,
                        event.key.leg.value,
                        after.life.state,
                        after.outcome,
                        after.http_status,
                        after.detail or "",
                    )
                )
            elif after.copy is not None and after.outcome is Outcome.ARCHIVED:
                self.report.bytes += after.copy.bytes
        if self.archive.on_recording is not None:
            self.archive.on_recording(self.provider.name, after.life.state.value, after.copy.bytes if after.copy else 0)

    def _try(self, event: Event) -> _Result:
        started = self.archive.runtime.monotonic()
        try:
            result = self._made(event)
        except RecordingError as error:
            kept = self._quarantine(event, error) if isinstance(error, NotMediaError) else None
            result = _Result(fact_of(error), error=error, detail=f"{error.detail}; {kept}" if kept else None)
            self._stop_others(error)
        except StorageError as error:
            result = self._storage_fault(error)
        else:
            self.memory.refused = self.memory.storage_faults = 0
        if result.fact.outcome in PROOFS:
            self.memory.base_proved = True
        return replace(result, seconds=self.archive.runtime.monotonic() - started)

    def _made(self, event: Event) -> _Result:
        """Make the copy: find it published, or fetch it."""
        errand = self._errand(event)
        orphan = self.orphans.get(event.key)
        made = self.copier.adopt(errand, orphan) if orphan else self.patience.call(lambda: self.copier.make(errand))
        if made.adopted:
            detail = "found published by a run that ended before it could say so"
            return _Result(Fact(Outcome.ADOPTED), copy=made.copy, detail=detail)
        with self._lock:
            self.report.continuations += made.continuations
        return _Result(Fact(Outcome.ARCHIVED), copy=made.copy, detail="archived")

    def _errand(self, event: Event) -> Errand:
        return Errand(event.key, event.day, self.run_id, event.life.attempts, expected_seconds=event.expected_seconds)

    def _quarantine(self, event: Event, error: NotMediaError) -> str | None:
        return quarantine.keep(self.archive.storage, self._errand(event), error, self.archive.runtime.now())

    def _count_link(self) -> None:
        with self._lock:
            self.report.links += 1

    def _stop_others(self, error: RecordingError) -> None:
        """After an operator's fault, or a pause longer than a run should wait, the rest of the run asks nothing."""
        settings = self.archive.settings
        long_pause = isinstance(error, RateLimitedError) and (error.retry_after or 0) > settings.transient_budget_seconds
        with self._lock:
            if isinstance(error, BlockedError):
                self.memory.refused += 1
            # A 403 may be about one recording alone; a row of them, or any other refusal, is about the key.
            alone = error.http_status == HTTPStatus.FORBIDDEN and self.memory.refused < _REFUSED_IN_A_ROW
            if long_pause or (isinstance(error, BlockedError) and not alone):
                known = self.memory.stop
                self.memory.stop = known or _Result(fact_of(error), error=error, detail=f"not asked, since {error.detail}")

    def _storage_fault(self, error: StorageError) -> _Result:
        """Leave one object that the root refuses for later; a root that refuses several in a row fails the run."""
        with self._lock:
            self.memory.storage_faults += 1
            if self.memory.storage_faults >= _STORAGE_FAULTS_IN_A_ROW:
                raise error
        return _Result(Fact(Outcome.STORAGE_FAULT), detail=str(error))

    def _settle_doubtful(self) -> None:
        """Decide on 404s that a wrong base URL gives too: believed only if this base has ever given anything else."""
        if not self._doubtful:
            return
        base = self.provider.base_url
        proved = self.memory.base_proved or self.ledger.base_has_proved_right(self.provider.name, base)
        for event, result in self._doubtful:
            if proved:
                self._finish(event, result)
                continue
            detail = (
                f"404 for every recording so far at {base}: check {self.provider.name.upper()}_BASE_URL. "
                "It counts as absent once this address has answered for another recording."
            )
            self._finish(event, replace(result, fact=Fact(Outcome.BLOCKED), detail=detail))

    # -- events

    def _record(self, event: Event, result: _Result) -> Event:
        now = self.archive.runtime.now()
        detail = result.detail or (result.error.detail if result.error else None)
        after = replace(
            event,
            event_id=uuid4().hex,
            seq=event.seq + 1,
            at=now,
            run_id=self.run_id,
            outcome=result.fact.outcome,
            life=transition(event.life, result.fact, now, self.policy, event.key),
            http_status=result.error.http_status if result.error else None,
            detail=redact(detail) if detail else None,
            api_base=self.provider.base_url,
            proved_base=self.provider.base_url if result.fact.outcome in PROOFS else event.proved_base,
            seconds=result.seconds,
            copy=result.copy,
            flaw=flaw_of(event.key, result.copy, event.expected_seconds, self._tolerance) if result.copy else None,
        )
        self.buffer.add(after)
        with self._lock:
            self._known[after.key] = after
        return after
