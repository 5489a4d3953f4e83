"""Making again what follows from recordings, sidecars and events; and events that were lost, from the sidecars.

Every step can be killed and run again: events that were written are found the next time, and the rest replaces what is derived.
What cannot be proven is named, and never declared good: a sidecar whose recording is missing or differs gives an archived
recording with a flaw, which the next audit takes up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from uuid import uuid4

from assets.executions import lake
from assets.executions.ingest import expected_recordings
from assets.recordings import adoption, names
from assets.recordings.audit import evidence
from assets.recordings.audit.compacted import Compacted
from assets.recordings.audit.readback import read_back
from assets.recordings.audit.trail import Trail, TrailFault
from assets.recordings.audit.verification import days_of, events_of
from assets.recordings.buffer import EventBuffer
from assets.recordings.discovery import discover
from assets.recordings.duration import Tolerance, flaw_of
from assets.recordings.errand import Errand
from assets.recordings.events import Copy, Event, Flaw, winners
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Fact, Outcome, Policy, transition
from assets.recordings.manifest import accept_losses, publish_manifest, read_manifest
from assets.recordings.sidecar import Sidecar, parse_sidecar
from resources.archive import Archive
from resources.errors import AlreadyStoredError, NotMediaError
from resources.failpoints import Failpoint, reached
from resources.model import Leg, RecordingKey
from resources.providers.protocol import ProviderSpec

_BATCH = 512
_BATCH_SECONDS = 20.0


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did for one provider.

    Attributes:
        provider: whose part of the archive.
        days: partitions that anything in the root knew of.
        recordings: in the state that was made.
        rebuilt: recordings whose events were lost, and whose sidecar says that they are archived.
        adopted: recordings without event and sidecar; their facts come from their bytes.
        salvaged: states that only the compacted state still knew, since their event files are gone.
        discovered: recordings that only the executions still knew: they are asked for again.
        faults: path and words of what could not be proven, or not be told whose it is.
        gone: event files that are gone, by the account of a manifest, another file or the compacted state.
        losses_accepted: whether their loss was accepted now.
    """

    provider: str
    days: int = 0
    recordings: int = 0
    rebuilt: int = 0
    adopted: int = 0
    salvaged: int = 0
    discovered: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    gone: list[str] = field(default_factory=list[str])
    losses_accepted: bool = False

    @property
    def needs_a_person(self) -> bool:
        """Whether something is left that only a person can decide."""
        return bool(self.faults or (self.gone and not self.losses_accepted))


@dataclass(slots=True)
class _Pieces:
    """What lies in an execution's folder for one leg: copies and sidecars, by the number of the copy."""

    folder: str
    leg: Leg
    copies: dict[int, str] = field(default_factory=dict[int, str])
    sidecars: dict[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True, slots=True)
class _Proof:
    """What the pieces of a recording prove: a copy, perhaps with a flaw; or nothing, and why."""

    key: RecordingKey | None = None
    copy: Copy | None = None
    sidecar: Sidecar | None = None
    flaw: Flaw | None = None
    fault: tuple[str, str] | None = None
    adopted: bool = False


def rebuild(
    archive: Archive,
    spec: ProviderSpec,
    tell: Callable[[int, int, str], None] = lambda _done, _total, _words: None,
    *,
    accept_loss: bool = False,
) -> RebuildReport:
    """Make lost events, the compacted state and the manifests of one provider again, and say what was done.

    The lines of event files in a manifest are witnesses: they stay, and so does the name of a removed file, until ``accept_loss``
    says that it is gone for good. Then the lines move to ``lost-events-sha256.txt`` beside the manifest.

    Raises:
        StorageError: the root fails, or an event file cannot be read; the message says what to do with it.
    """
    return _Rebuild(archive, spec, tell, accept_loss).execute()


@dataclass(slots=True)
class _Rebuild:
    archive: Archive
    spec: ProviderSpec
    tell: Callable[[int, int, str], None]
    accept_loss: bool
    run_id: str = field(default_factory=lambda: f"rebuild-{uuid4().hex}")
    ledger: Ledger = field(init=False)
    report: RebuildReport = field(init=False)
    _buffer: EventBuffer = field(init=False)

    def __post_init__(self) -> None:
        runtime = self.archive.runtime
        self.ledger = Ledger(self.archive.storage)
        self.report = RebuildReport(self.spec.name)
        self._buffer = EventBuffer(self.ledger, runtime.now, runtime.monotonic, batch=_BATCH, max_age=_BATCH_SECONDS)

    def execute(self) -> RebuildReport:
        provider, ledger = self.spec.name, self.ledger
        compacted = Compacted.readable(ledger, provider)
        days = sorted({*days_of(compacted), *lake.partitions(self.archive.storage, provider)})
        trail = Trail(ledger, compacted)
        gone: list[TrailFault] = []
        with ThreadPoolExecutor(self.archive.settings.media_concurrency) as pool:
            for done, day in enumerate(days):
                self.tell(done, 2 * len(days), f"{provider} {day}")
                gone += self._day(pool, day, trail, compacted)
        gone += [fault for fault in trail.finish() if fault.is_removal]
        self.report.gone = sorted(fault.path for fault in gone)
        self.report.losses_accepted = self.accept_loss and bool(gone)
        if self.accept_loss:
            accept_losses(ledger, {fault.path: fault.sha256 for fault in gone})
        ledger.refold(provider, forget=self.report.gone if self.accept_loss else ())
        reached(Failpoint.REBUILT_STATE)
        for done, day in enumerate(days):
            self.tell(len(days) + done, 2 * len(days), f"{provider} {day}")
            self._discover(day)
            publish_manifest(ledger, provider, day, forget=self.report.gone if self.accept_loss else ())
            reached(Failpoint.REBUILT_MANIFEST)
        self.report.days, self.report.recordings = len(days), ledger.fold(provider).recordings
        return self.report

    # -- events

    def _day(self, pool: ThreadPoolExecutor, day: date, trail: Trail, compacted: Compacted) -> list[TrailFault]:
        """Write the events of a partition that are lost, and return which event files are gone."""
        states = compacted.events_of(day)
        found = trail.check_day(self.spec.name, day, read_manifest(self.ledger, self.spec.name, day), states)
        gone = [fault for fault in found.faults if fault.is_removal]
        told, unread = events_of(found)
        self.report.faults += unread.items()
        events = winners(event for of_file in told.values() for event in of_file)
        if gone:
            for event in self._salvage(states, events):
                events[event.key] = event
        self._prove(pool, day, events)
        self._buffer.flush()
        reached(Failpoint.REBUILT_EVENTS)
        return gone

    def _salvage(self, compacted: Iterable[Event], events: dict[RecordingKey, Event]) -> Iterator[Event]:
        """Write again, as they were, the events that are gone with their files and still stand in the compacted state."""
        for event in compacted:
            known = events.get(event.key)
            if known is None or event.order > known.order:
                self._buffer.add(event)
                self.report.salvaged += 1
                yield event

    def _prove(self, pool: ThreadPoolExecutor, day: date, events: dict[RecordingKey, Event]) -> None:
        """Write an event for each recording that lies in the archive, and that the events do not know as it lies there."""
        known = {
            (names.recording_folder(key.provider, day, key.execution_id), key.leg): event
            for key, event in events.items()
            if event.copy is not None
        }
        ids = self._ids(day, events)

        def prove(pieces: _Pieces) -> _Proof:
            event = known.get((pieces.folder, pieces.leg))
            return self._proof(pieces, day, event.copy.number if event is not None and event.copy is not None else 0, ids)

        for proof in pool.map(prove, self._pieces(day)):
            if proof.fault is not None:
                self.report.faults.append(proof.fault)
            if proof.key is not None and proof.copy is not None:
                self._write(proof.key, day, proof, events.get(proof.key))

    def _write(self, key: RecordingKey, day: date, proof: _Proof, before: Event | None) -> None:
        now, sidecar = self.archive.runtime.now(), proof.sidecar
        policy = Policy.from_settings(self.archive.settings)
        life = transition(before.life if before else None, Fact(Outcome.REBUILT), now, policy, key)
        if sidecar is not None:
            life = replace(life, attempts=max(life.attempts, sidecar.attempts))
        self.report.adopted += proof.adopted
        self.report.rebuilt += not proof.adopted
        expected = sidecar.expected_seconds if sidecar is not None else None
        tolerance = Tolerance.from_settings(self.archive.settings)
        flaw = proof.flaw or (flaw_of(key, proof.copy, expected, tolerance) if proof.copy is not None else None)
        detail = "from its bytes: event and sidecar were lost" if proof.adopted else "from its sidecar: its events were lost"
        self._buffer.add(
            Event(
                key=key,
                day=day,
                event_id=uuid4().hex,
                seq=before.seq + 1 if before else 1,
                at=now,
                run_id=self.run_id,
                outcome=Outcome.REBUILT,
                life=life,
                detail=proof.fault[1] if proof.fault is not None else detail,
                copy=proof.copy,
                flaw=flaw,
                expected_seconds=expected,
            )
        )

    def _discover(self, day: date) -> None:
        """Tell the ledger of recordings that only the executions know: nobody reads an old day's list again."""
        table = lake.read_partition(self.archive.storage, self.spec, day)
        policy, now = Policy.from_settings(self.archive.settings), self.archive.runtime.now()
        found = discover(
            self.ledger, self.spec.name, day, expected_recordings(self.spec, table), run_id=self.run_id, now=now, policy=policy
        )
        self.report.discovered += found.discovered

    # -- proofs

    def _pieces(self, day: date) -> list[_Pieces]:
        found: dict[tuple[str, Leg], _Pieces] = {}
        for info in self.archive.storage.list(f"{names.RECORDINGS}/{names.partition(self.spec.name, day)}"):
            name = evidence.name_of(info.path)
            if name is not None:
                pieces = found.setdefault((name.folder, name.leg), _Pieces(name.folder, name.leg))
                (pieces.sidecars if name.is_sidecar else pieces.copies)[name.number] = info.path
        return list(found.values())

    def _proof(self, pieces: _Pieces, day: date, known: int, ids: dict[str, str]) -> _Proof:
        """Look at the copies that the events do not know, the newest first; the first good one is the recording."""
        unsound: list[_Proof] = []
        for number in sorted({*pieces.copies, *pieces.sidecars}, reverse=True):
            if number <= known:
                break
            proof = self._proof_of(pieces, day, number, ids)
            if proof.copy is not None and proof.flaw is None:
                return proof
            unsound.append(proof)
        if not unsound or known:
            return _Proof(fault=unsound[0].fault if unsound else None)
        return next((proof for proof in unsound if proof.copy is not None), unsound[0])

    def _proof_of(self, pieces: _Pieces, day: date, number: int, ids: dict[str, str]) -> _Proof:
        storage, path, sidecar_path = self.archive.storage, pieces.copies.get(number), pieces.sidecars.get(number)
        if sidecar_path is not None:
            data = storage.read(sidecar_path)
            parsed = parse_sidecar(data)
            if parsed is not None:
                return self._by_sidecar(pieces, day, number, *parsed)
            if path is None:
                return _Proof(fault=(sidecar_path, "this sidecar cannot be read, and its recording is missing"))
            with suppress(AlreadyStoredError):
                storage.create(evidence.kept_path(sidecar_path, data), data)
        execution_id = ids.get(pieces.folder)
        assert path is not None  # noqa: S101 -- a number has a copy or a sidecar
        if execution_id is None:
            words = (
                "neither sidecar, event nor execution says whose recording this is: read the executions of this day, then rebuild"
            )
            return _Proof(fault=(path, words))
        key = RecordingKey(self.spec.name, execution_id, pieces.leg)
        try:
            copy = adoption.adopt(self.archive, Errand(key, day, self.run_id, attempts=0, number=number), path)
        except NotMediaError as error:
            return _Proof(fault=(path, error.detail))
        return _Proof(key, copy, adopted=True)

    def _by_sidecar(self, pieces: _Pieces, day: date, number: int, sidecar: Sidecar, copy: Copy) -> _Proof:
        path = pieces.sidecars[number]
        belongs = (
            (sidecar.provider, sidecar.date, sidecar.leg, sidecar.number) == (self.spec.name, day, pieces.leg.value, number)
            and names.recording_folder(self.spec.name, day, sidecar.execution_id) == pieces.folder
            and sidecar.path.startswith(f"{pieces.folder}/")
        )
        if not belongs:
            return _Proof(fault=(path, "this sidecar speaks of another recording"))
        key = RecordingKey(self.spec.name, sidecar.execution_id, pieces.leg)
        self.archive.storage.settle(pieces.folder)
        reading = read_back(self.archive.storage, key, day, copy)
        if reading.flaw is None:
            return _Proof(key, copy, sidecar)
        words = f"{reading.words}, by its sidecar; its events are lost, too"
        return _Proof(key, copy, sidecar, reading.flaw, (sidecar.path, words))

    def _ids(self, day: date, events: dict[RecordingKey, Event]) -> dict[str, str]:
        """Return the execution id by folder: a folder's name does not always tell it."""
        listed = lake.read_partition(self.archive.storage, self.spec, day)["execution_id"].to_pylist()
        known = {key.execution_id for key in events} | {name for name in listed if name is not None}
        return {names.recording_folder(self.spec.name, day, execution_id): execution_id for execution_id in known}
