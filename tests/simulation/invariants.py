"""What must be true after every step, whatever the world did."""

from __future__ import annotations

import functools
import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from assets.recordings import names
from assets.recordings.audit.verification import verify_day
from assets.recordings.events import Event, from_table, winners
from assets.recordings.ledger import Ledger
from assets.recordings.ledger.files import from_bytes
from assets.recordings.lifecycle import COPY_IS_THERE, State
from resources.model import RecordingKey
from resources.storage import ArchiveStorage
from tests.simulation.archives import ROOT, Site
from tests.simulation.world import KATAVEN_RATES, Recording

_LIMITS = {"kataven": KATAVEN_RATES}


class ViolationError(AssertionError):
    """An invariant does not hold."""


def require(holds: object, words: str) -> None:
    """Raise ViolationError with ``words`` unless ``holds``."""
    if not holds:
        raise ViolationError(words)


@dataclass(slots=True)
class Watcher:
    """Remembers what was true, and looks whether it still is.

    Attributes:
        site: whose archive.
        storage: of the checker's own: it never fails, and nobody else runs while it looks.
        lives: the winning event of each recording when we last looked.
    """

    site: Site
    storage: ArchiveStorage
    lives: dict[RecordingKey, Event] = field(default_factory=dict[RecordingKey, Event])
    _hashes: dict[int, str] = field(default_factory=dict[int, str])
    _checked_calls: dict[str, int] = field(default_factory=dict[str, int])

    def look(self) -> None:
        """Check everything that must hold at any moment.

        Raises:
            ViolationError: one of it does not; its text says which and of what.
        """
        self._nothing_promised_is_gone()
        events = self.events()
        self._the_ledger_says_what_was_written(events)
        self._what_is_archived_reads_back(events)
        self._no_partial_object()
        self._lives_go_on(events)
        self._nobody_asks_too_much()
        self.lives = events

    def events(self) -> dict[RecordingKey, Event]:
        """Return the winning event of each recording."""
        ledger = Ledger(self.storage)
        found: dict[RecordingKey, Event] = {}
        for provider in self.site.world.providers:
            for day in ledger.days(provider):
                found |= ledger.read_day(provider, day)
        return found

    def _nothing_promised_is_gone(self) -> None:
        there = {path.relative_to(ROOT).as_posix(): data for path, data in self.site.platter.walk(ROOT / names.TAIL)}
        compacted = self._compacted()
        for path, data in self.site.promised.items():
            is_there = there.get(path) == data if path in there else _ids_of(data) <= compacted
            require(is_there, f"events that were written are gone or changed: {path}")
        for path in there.keys() - self.site.promised.keys():
            # Written by a process that died before it could say so: whole or not there.
            self.site.promised[path] = there[path]

    def _compacted(self) -> set[str]:
        """Return the ids of the events in all files of compacted events."""
        return {name for _, data in self.site.platter.walk(ROOT / names.EVENTS) for name in _ids_of(data)}

    def _the_ledger_says_what_was_written(self, events: Mapping[RecordingKey, Event]) -> None:
        """Read all event files without the ledger, and compare."""
        written = [event for data in self.site.promised.values() for event in _events_of(data)]
        expected = winners(written)
        for key in expected.keys() | events.keys():
            require(expected.get(key) == events.get(key), f"the ledger does not say of {key} what was written")

    def _what_is_archived_reads_back(self, events: Mapping[RecordingKey, Event]) -> None:
        truth = self.site.world.recordings()
        objects = self._objects()
        for key, event in events.items():
            if event.life.state is not State.ARCHIVED:
                continue
            copy = event.copy
            found = objects.get(copy.path) if copy is not None else None
            require(copy is not None and found is not None, f"{key} is reported archived, and there is nothing")
            right = copy is not None and found == copy.sha256 and found in truth[key].hashes()
            require(right, f"{key} is reported archived, and is not what was sent")

    def _objects(self) -> dict[str, str]:
        """Return path to SHA-256 of every visible recording."""
        found = self.site.platter.walk(ROOT / names.RECORDINGS)
        return {path.relative_to(ROOT).as_posix(): _sha256(data) for path, data in found if path.suffix != names.SIDECAR_SUFFIX}

    def _no_partial_object(self) -> None:
        whole = {digest for recording in self.site.world.recordings().values() for digest in recording.hashes()}
        stems: set[str] = set()
        for path, digest in self._objects().items():
            require(digest in whole, f"a visible object is no recording of this world: {path}")
            stem = path.rpartition(".")[0]
            require(stem not in stems, f"a recording was archived twice: {path}")
            stems.add(stem)

    def _lives_go_on(self, events: Mapping[RecordingKey, Event]) -> None:
        for key, before in self.lives.items():
            after = events.get(key)
            if after is None:
                msg = f"{key} is not in the ledger any more"
                raise ViolationError(msg)
            if before.life.terminal and after.life.state is not before.life.state:
                asked_again = after.life.epoch > before.life.epoch
                left = before.life.state is not State.ARCHIVED and (asked_again or after.outcome in COPY_IS_THERE)
                require(left, f"{key} was {before.life.state} for good, and is {after.life.state}")
            lost = f"{key} has lost attempts: {before.life.attempts}, then {after.life.attempts}"
            require(after.life.attempts >= before.life.attempts, lost)

    def _nobody_asks_too_much(self) -> None:
        for provider, rates in _LIMITS.items():
            calls = self.site.world.calls[provider]
            for number in range(self._checked_calls.get(provider, 0), len(calls)):
                for limit, seconds in rates:
                    began = calls[number] - seconds
                    if any(began <= jump <= calls[number] for jump in self.site.world.jumps):
                        continue  # who cannot tell how long ago it was, cannot keep to a pace
                    since = bisect_right(calls, began)
                    asked = number + 1 - since
                    require(asked <= limit, f"{provider} was asked {asked} times in {seconds:.0f} s, and allows {limit}")
            self._checked_calls[provider] = len(calls)

    # -- at the end

    def look_at_the_end(self) -> None:
        """Check what must hold once the world has been kind for long enough."""
        self.look()
        truth = self.site.world.recordings()
        for key, recording in truth.items():
            event = self.lives.get(key)
            state = event.life.state if event is not None else None
            words = f"{state} ({event.detail if event else 'never heard of'})"
            require(not recording.deliverable or state is State.ARCHIVED, f"{key} could be had, and is {words}")
            require(state in self.right_ends(recording), f"{key} has not come to a right end: {words}")
        self._the_archive_verifies()
        self._no_secret_is_written()
        left = [path for path, _ in self.site.platter.walk(ROOT / ".tmp")]
        require(not left, f"temporary files are left: {left}")

    def right_ends(self, recording: Recording) -> frozenset[State]:
        """Return the states in which a recording may be for good."""
        if recording.deliverable:
            return frozenset({State.ARCHIVED})
        if recording.exists:
            return frozenset({State.ARCHIVED, State.PURGED})
        if recording.purged_at is not None:
            return frozenset({State.ABSENT, State.PURGED})
        # Where a 404 also means a wrong base URL, it is believed once the address has led to another recording, and somebody has
        # lived to say so: who adopts a copy does not know which address it came from.
        told = (event for key, event in self.lives.items() if key.provider == recording.key.provider)
        if recording.key.provider != "kataven" or any(event.proved_base for event in told):
            return frozenset({State.ABSENT})
        # Or an event said so that another has outdone since.
        outdone = Ledger(self.storage).events_table(recording.key.provider)["proved_base"]
        return frozenset({State.BLOCKED} if outdone.null_count == len(outdone) else {State.BLOCKED, State.ABSENT})

    def _the_archive_verifies(self) -> None:
        ledger = Ledger(self.storage)
        for provider in self.site.world.providers:
            for day in ledger.days(provider):
                for verdict in verify_day(ledger, provider, day):
                    require(verdict.fault is None, f"{verdict.path}: {verdict.fault}")

    def _no_secret_is_written(self) -> None:
        for event in self.lives.values():
            text = repr(event)
            secret = "X-Amz-Signature=" in text or "key-of-the-simulation" in text
            require(not secret, f"a secret is in the ledger: {event.key}")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@functools.lru_cache(maxsize=4096)
def _ids_of(data: bytes) -> frozenset[str]:
    try:
        return frozenset(pq.ParquetFile(pa.BufferReader(data)).read(["event_id"])["event_id"].to_pylist())
    except (pa.ArrowException, OSError) as error:
        msg = f"a visible file of events is damaged: {error}"
        raise ViolationError(msg) from None


@functools.lru_cache(maxsize=4096)
def _events_of(data: bytes) -> tuple[Event, ...]:
    try:
        return tuple(from_table(from_bytes(data)))
    except (pa.ArrowException, OSError) as error:
        msg = f"a visible file of events is damaged: {error}"
        raise ViolationError(msg) from None
