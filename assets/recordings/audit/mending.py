"""Examining one archived copy, writing down what is wrong with it, and making it right while the provider still has it.

The damaged object and its sidecar are evidence: they stay as they are, and the new copy stands beside them under the next
number. Whatever is killed between two steps, the next audit finds what was made and goes on from there.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from http import HTTPStatus
from uuid import uuid4

from assets.recordings import adoption, names
from assets.recordings.audit import evidence
from assets.recordings.audit.readback import Reading, measure, read_back
from assets.recordings.buffer import EventBuffer
from assets.recordings.copying import Copier, Made
from assets.recordings.duration import Tolerance, flaw_of
from assets.recordings.errand import Errand
from assets.recordings.events import Copy, Event, Flaw
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Outcome
from assets.recordings.sidecar import read_sidecar, restored_bytes
from resources.archive import Archive
from resources.errors import (
    AlreadyStoredError,
    BlockedError,
    NotStoredError,
    RateLimitedError,
    RecordingError,
    SettingsError,
    StorageError,
)
from resources.failpoints import Failpoint, reached
from resources.model import RecordingKey
from resources.patience import Patience
from resources.redaction import redact

LOST = frozenset({Flaw.DAMAGED, Flaw.MISSING})
"""Flaws of a copy that is not what was stored; an audit comes back to them until there is a good copy."""

_REFUSED_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What an examination found of one copy.

    Attributes:
        key, day: which recording.
        path: of the copy that was examined.
        bytes: that were read.
        flaw: of the copy; None where it is good.
        fault: what was wrong, in words; None when nothing was.
        mended: True when it is right now.
        remedy: what was done about it, or why nothing was.
    """

    key: RecordingKey
    day: date
    path: str
    bytes: int
    flaw: Flaw | None = None
    fault: str | None = None
    mended: bool = False
    remedy: str = ""


@dataclass(slots=True)
class Mender:
    """Examines copies of one provider, and mends what is wrong. Safe to use from several threads.

    Attributes:
        archive: whose copies.
        provider: name of the provider.
        run_id: for the events.
        is_over: says whether the time of the run is over; then nothing is fetched any more.
        days: partitions that were written about; their manifests have to be published again.
    """

    archive: Archive
    provider: str
    run_id: str
    is_over: Callable[[], bool]
    days: set[date] = field(default_factory=set[date])
    ledger: Ledger = field(init=False)
    _buffer: EventBuffer = field(init=False)
    _fetched: int = 0
    _stop: str | None = None
    _refused: int = 0
    _unreadable: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.archive.storage)
        self._buffer = EventBuffer(self.ledger, self.archive.runtime.now, self.archive.runtime.monotonic)

    def flush(self) -> None:
        """Write what was learnt."""
        self._buffer.flush()

    def examine(self, event: Event) -> Finding:
        """Read the copy of an archived recording back, write down what is wrong with it, and mend it.

        Raises:
            StorageError: the root refuses several copies in a row; nothing is said of them.
        """
        copy = _copy_of(event)
        reading = read_back(self.archive.storage, event.key, event.day, copy)
        if reading.refused:
            reading = read_back(self.archive.storage, event.key, event.day, copy)  # the network, perhaps
        self._watch_root(reading)
        finding = Finding(event.key, event.day, copy.path, reading.bytes, reading.flaw, reading.words)
        if reading.words is None:
            return self._put_back(event, finding) if event.flaw in LOST else finding
        if reading.flaw is not None and event.flaw is not reading.flaw:
            event = self._record(event, Outcome.DAMAGED, reading.words, flaw=reading.flaw)
        if reading.flaw is not None and self._is_too_much:
            # With a whole disk gone there is no time to look each one up.
            return replace(finding, remedy=f"not fetched again: {self._too_much}")
        known = self.ledger.read_day(self.provider, event.day).get(event.key, event)
        if known.copy is not None and known.copy != copy:
            # Another audit, or a run, was faster: what it made is what counts.
            return replace(finding, mended=True, remedy=f"{known.copy.path} stands for it now")
        return self._restore_sidecar(event, finding) if reading.flaw is None else self._fetch_again(event, finding)

    def _watch_root(self, reading: Reading) -> None:
        with self._lock:
            self._unreadable = self._unreadable + 1 if reading.refused else 0
            if self._unreadable >= _REFUSED_IN_A_ROW:
                msg = f"{_REFUSED_IN_A_ROW} copies in a row cannot be read, the last one: {reading.fault}"
                raise StorageError(msg)

    def _put_back(self, event: Event, finding: Finding) -> Finding:
        remedy = "the copy is what was stored again: somebody has put it back"
        self._record(event, Outcome.RESTORED, remedy, flaw=self._flaw_of(event, _copy_of(event)))
        return replace(finding, fault=f"the recording was {event.flaw}", mended=True, remedy=remedy)

    def _flaw_of(self, event: Event, copy: Copy) -> Flaw | None:
        """Return what is doubtful about a good copy: how long it plays."""
        return flaw_of(event.key, copy, event.expected_seconds, Tolerance.from_settings(self.archive.settings))

    # -- a sidecar

    def _restore_sidecar(self, event: Event, finding: Finding) -> Finding:
        try:
            copy = self._sidecar_from_ledger(event, _copy_of(event))
        except StorageError as error:
            return replace(finding, remedy=f"the sidecar was not written again: {error}")
        remedy = f"{finding.fault}: it was written again from the ledger"
        reached(Failpoint.SIDECAR_RESTORED)
        self._record(event, Outcome.RESTORED, remedy, copy=copy)
        return replace(finding, mended=True, remedy=remedy)

    def _sidecar_from_ledger(self, event: Event, copy: Copy) -> Copy:
        """Write the sidecar as the ledger tells it; one that is there and is not as written is kept under another name first."""
        storage, key, wanted = self.archive.storage, event.key, restored_bytes(event, copy)
        path = names.sidecar_path(key.provider, event.day, key.execution_id, key.leg, copy.number)
        try:
            found = storage.read(path)
        except NotStoredError:
            storage.create(path, wanted)
        else:
            if found != wanted:
                with suppress(AlreadyStoredError):
                    storage.create(evidence.kept_path(path, found), found)
                storage.write(path, wanted)
        return replace(copy, sidecar_sha256=hashlib.sha256(wanted).hexdigest())

    # -- a copy

    def _fetch_again(self, event: Event, finding: Finding) -> Finding:
        try:
            made = self._made(event)
        except (RecordingError, SettingsError, StorageError) as error:
            why = redact(error.detail if isinstance(error, RecordingError) else str(error))
            self._stop_others(error)
            words = f"{finding.fault}; not fetched again: {why}"
            if words != event.detail:
                self._record(event, Outcome.DAMAGED, words, status=getattr(error, "http_status", None), flaw=finding.flaw)
            return replace(finding, remedy=f"not fetched again: {why}")
        if isinstance(made, str):
            return replace(finding, remedy=f"not fetched again: {made}")
        self._refused = 0
        reached(Failpoint.COPY_REPLACED)
        same = "the same bytes as" if made.copy.sha256 == _copy_of(event).sha256 else "other bytes than"
        remedy = (
            f"{'found' if made.adopted else 'fetched again, and stored'} beside it as {made.copy.path}: {same} were stored first"
        )
        self._record(event, Outcome.REPAIRED, remedy, flaw=self._flaw_of(event, made.copy), copy=made.copy)
        return replace(finding, mended=True, remedy=remedy)

    def _made(self, event: Event) -> Made | str:
        """Make the next copy, or say why it is not asked for."""
        number, published = self._next_copy(event)
        # A repair is no try to archive: the sidecar of the new copy counts as many as the ledger.
        tries = event.life.attempts if published is not None else max(event.life.attempts - 1, 0)
        errand = Errand(event.key, event.day, self.run_id, tries, number=number, expected_seconds=event.expected_seconds)
        if published is not None:
            return Made(adoption.adopt(self.archive, errand, published), adopted=True)
        copier = Copier(self.archive, self.archive.provider(self.provider), on_link=lambda: None)
        with self._lock:
            if self._stop is not None:
                return self._stop
            if self.is_over():
                return "the time of this run was over; the next audit comes back to it"
            if self._is_too_much:
                return self._too_much
            self._fetched += 1
        self.flush()  # what comes now may take long, and be killed
        reached(Failpoint.DAMAGE_NOTED)
        patience = Patience.from_settings(self.archive.settings, self.archive.runtime.sleep)
        return patience.call(lambda: copier.make(errand))

    @property
    def _is_too_much(self) -> bool:
        return self._fetched >= self.archive.settings.fixity_max_repairs

    @property
    def _too_much(self) -> str:
        return f"{self._fetched} others were fetched in this run (FIXITY_MAX_REPAIRS); look at the storage first"

    def _next_copy(self, event: Event) -> tuple[int, str | None]:
        """Return the number of the next copy, and its path where a killed repair has published it already.

        A number is passed over where a sidecar stands without its copy, or beside another: that is evidence too.
        """
        storage, key = self.archive.storage, event.key
        folder = names.recording_folder(key.provider, event.day, key.execution_id)
        objects: dict[int, str] = {}
        sidecars: set[int] = set()
        for info in storage.list(folder):
            name = evidence.name_of(info.path)
            if name is None or name.leg is not key.leg:
                continue
            if name.is_sidecar:
                sidecars.add(name.number)
            else:
                objects[name.number] = info.path
        number = _copy_of(event).number + 1
        while number in objects or number in sidecars:
            path = objects.get(number)
            if path is not None and (number not in sidecars or self._is_whole(event, number, path)):
                return number, path
            number += 1
        return number, None

    def _is_whole(self, event: Event, number: int, path: str) -> bool:
        known = read_sidecar(self.archive.storage, event.key, event.day, number)
        if known is None or known[0].path != path:
            return False
        return measure(self.archive.storage, path) == (known[0].bytes, known[0].sha256)

    def _stop_others(self, error: Exception) -> None:
        """After an operator's fault, or a pause longer than a run should wait, the rest of the run asks nothing."""
        with self._lock:
            if isinstance(error, BlockedError):
                self._refused += 1
            alone = getattr(error, "http_status", None) == HTTPStatus.FORBIDDEN and self._refused < _REFUSED_IN_A_ROW
            pause = (error.retry_after or 0.0) if isinstance(error, RateLimitedError) else 0.0
            if pause > self.archive.settings.transient_budget_seconds or (isinstance(error, BlockedError) and not alone):
                self._stop = self._stop or f"not asked, since {error}"

    # -- events

    def _record(
        self, event: Event, outcome: Outcome, detail: str, *, status: int | None = None, **changes: Copy | Flaw | None
    ) -> Event:
        after = replace(
            event,
            event_id=uuid4().hex,
            seq=event.seq + 1,
            at=self.archive.runtime.now(),
            run_id=self.run_id,
            outcome=outcome,
            http_status=status,
            detail=redact(detail),
            seconds=None,
            **changes,
        )
        with self._lock:
            self.days.add(event.day)
        self._buffer.add(after)
        return after


def _copy_of(event: Event) -> Copy:
    assert event.copy is not None  # noqa: S101 -- only archived recordings are examined
    return event.copy
