"""The ledger: append-only event files, and the compacted state that a fold makes of them.

Writers never coordinate. Each flush is one immutable Parquet file of its own, so any number of runs and hosts write at once and
nothing is updated in place. A *fold* reads the former state and the files that it did not know, writes the state after them, and
records **exactly which files it folded**; the *tail* is the listing minus that set. Clocks decide nothing.

Reading is a union, so it is right at every moment: before a fold, after it, and while two folds race (either pointer is
true; the loser's work is done again).
"""

from __future__ import annotations

import functools
import io
import itertools
import re
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import ParamSpec, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assets.recordings import names
from assets.recordings.events import NEVER_NULL, SCHEMA, Event, from_table, table_of, to_rows, to_table, winners
from assets.recordings.ledger.chain import Chain, row_digest
from assets.recordings.lifecycle import OPEN_STATES
from resources.errors import NotStoredError, StorageError
from resources.failpoints import Failpoint, reached
from resources.model import RecordingKey
from resources.redaction import redact
from resources.storage import ArchiveStorage

_POINTER = "current.json"
_KEPT_GENERATIONS = 2
_GRACE = timedelta(hours=1)
_TRIES = 5
_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")
_REASON_CHARACTERS = 300
_STATE_FILE = re.compile(rf"{names.STATES}/provider=[^/]+/\d+-[0-9a-f]+\.(?:state\.parquet|open\.parquet|folded\.json)")
_OPEN_VALUES = pa.array(sorted(state.value for state in OPEN_STATES))
_EVENT_FILE = re.compile(rf"{names.EVENTS}/provider=[^/]+/date=(\d{{4}}-\d\d-\d\d)/[^/]+\.parquet")


class _Pointer(msgspec.Struct, frozen=True):
    """What ``current.json`` says. Paths are relative to the archive root."""

    generation: int = 0
    state: str | None = None
    open: str | None = None
    folded: str | None = None


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What a fold did: files that were folded now and their days, recordings in the state, and how many of them are open."""

    provider: str
    new_files: int
    days: tuple[date, ...]
    recordings: int
    open_recordings: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """A published fold.

    Attributes:
        path: of the state file, relative to the archive root; empty where nothing has been folded.
        table: the winning event of each recording, of :data:`SCHEMA`.
        folded: the event files that it was made of.
    """

    path: str
    table: pa.Table
    folded: frozenset[str]

    @property
    def days(self) -> set[date]:
        """The partitions that it knows of, also those whose event files are gone."""
        of_state = {day for day in self.table["date"].unique().to_pylist() if day is not None}
        return of_state | set(map(_day_of, self.folded))

    def events_of(self, day: date) -> list[Event]:
        """Return the winning events of one partition."""
        return from_table(self.table.filter(pc.field("date") == pa.scalar(day)))


def _again_when_folded(read: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
    """Read again when the generation that was being read is gone: folds have gone on meanwhile, and newer ones are there."""

    @functools.wraps(read)
    def reading(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
        for _ in range(_TRIES - 1):
            try:
                return read(*args, **kwargs)
            except NotStoredError:
                continue
        return read(*args, **kwargs)

    return reading


@dataclass(slots=True)
class Ledger:
    """The ledger of one archive root. Every call reads the storage; only the end of its own audit trail is kept."""

    storage: ArchiveStorage
    _chain: Chain = field(default_factory=Chain)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def append(self, events: Sequence[Event], moment: datetime) -> None:
        """Write ``events`` (of one provider) durably, one file for each partition among them.

        Raises:
            StorageError: nothing, or whole partitions' files, were written; writing them again is harmless.
        """
        for day in sorted({event.day for event in events}):
            of_day = [event for event in events if event.day == day]
            stamp = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond:06d}Z"
            run = of_day[0].run_id[:8]
            path = f"{names.events_folder(of_day[0].key.provider, day)}/{stamp}-{run}-{uuid.uuid4().hex}.parquet"
            with self._turn:
                rows = to_rows(of_day)
                data = self._chain.encode(path, table_of(rows), [row_digest(row) for row in rows])
                reached(Failpoint.EVENT_FILE_ENCODED)
                self.storage.create(path, data)
                self._chain.written(path, data)
            reached(Failpoint.EVENT_FILE_WRITTEN)

    @_again_when_folded
    def read_day(self, provider: str, day: date) -> dict[RecordingKey, Event]:
        """Return the winning event of every recording of one partition."""
        pointer = self._pointer(provider)
        folded = self._folded(pointer)
        listed = self.event_files(provider, day)
        self.storage.settle(names.events_folder(provider, day))
        events = self._read_events(path for path in listed if path not in folded)
        if pointer.state is not None:
            state = self._read_table(pointer.state)
            events.extend(from_table(state.filter(pc.equal(state["date"], pa.scalar(day)))))
        return winners(events)

    def event_files(self, provider: str, day: date) -> list[str]:
        """Return the paths of a partition's event files, ascending."""
        return self._event_files(names.events_folder(provider, day))

    def days(self, provider: str) -> list[date]:
        """Return the partitions that have events, ascending."""
        found = {_day_of(path) for path in self._event_files(_events_of(provider))}
        return sorted(found)

    @_again_when_folded
    def tail_days(self, provider: str) -> set[date]:
        """Return the partitions that have events which no fold knows yet."""
        return {_day_of(path) for path in self._tail(provider, self._pointer(provider))}

    @_again_when_folded
    def compacted(self, provider: str) -> Compacted:
        """Return the compacted state as it is published, without the tail: what was folded, and what came of it."""
        pointer = self._pointer(provider)
        table = self._read_table(pointer.state) if pointer.state is not None else SCHEMA.empty_table()
        return Compacted(pointer.state or "", table, self._folded(pointer))

    @_again_when_folded
    def read_open(self, provider: str) -> dict[RecordingKey, Event]:
        """Return the winning event of every recording that is not in a terminal state, over all partitions.

        Reads the open part of the compacted state and the tail, not the history.
        """
        pointer = self._pointer(provider)
        tail = self._read_events(self._tail(provider, pointer))
        known: list[Event] = []
        if pointer.open is not None:
            known = from_table(self._read_table(pointer.open))
        known += self._states_of(pointer, _continued(tail) - {event.key for event in known})
        overlaid = winners([*known, *tail])
        return {key: event for key, event in overlaid.items() if not event.life.terminal}

    @_again_when_folded
    def base_has_proved_right(self, provider: str, api_base: str) -> bool:
        """Return whether this base URL has ever led to a recording, or to a recording's own "not ready"."""
        pointer = self._pointer(provider)
        tables = [self._read_table(path) for path in self._tail(provider, pointer)]
        if pointer.state is not None:
            tables.append(self._read_table(pointer.state, ["proved_base"]))
        return any(api_base in table["proved_base"].unique().to_pylist() for table in tables)

    @_again_when_folded
    def state_table(self, provider: str) -> pa.Table:
        """Return the winning event of every recording of the provider as a table of :data:`SCHEMA`."""
        pointer = self._pointer(provider)
        return self._merged(pointer, self._tail(provider, pointer))

    def events_table(self, provider: str) -> pa.Table:
        """Return every event of the provider as a table of :data:`SCHEMA`."""
        listed = self._event_files(_events_of(provider))
        return pa.concat_tables([self._read_table(path) for path in listed] or [SCHEMA.empty_table()])

    @_again_when_folded
    def fold(self, provider: str) -> FoldReport:
        """Compact the tail into the state. Safe beside any number of writers and readers, and beside another fold."""
        pointer = self._pointer(provider)
        tail = self._tail(provider, pointer)
        if not tail and pointer.state is not None:
            return self._report(provider, [], self._read_table(pointer.state))
        self._settle(tail)
        state = self._merged(pointer, tail)
        self._publish(provider, pointer, pointer.generation + 1, state, sorted({*self._folded(pointer), *tail}))
        return self._report(provider, tail, state)

    @_again_when_folded
    def refold(self, provider: str, *, forget: Collection[str] = ()) -> FoldReport:
        """Make the compacted state again from the event files alone, whatever the published one says.

        Files that the published one was made of and that are gone stay named in it, but for those to ``forget``.

        Raises:
            StorageError: a file cannot be read; or others went on folding meanwhile: nothing is lost, run again.
        """
        for _ in range(_TRIES):
            pointer = self._pointer(provider)
            listed = self._event_files(_events_of(provider))
            self._settle(listed)
            by_day = (list(files) for _, files in itertools.groupby(listed, key=_day_of))
            # A partition at a time: all events at once would not fit into memory.
            state = pa.concat_tables([SCHEMA.empty_table(), *(self._merged(_Pointer(), files) for files in by_day)])
            numbers = (_generation_of(info.path) for info in self.storage.list(_state_folder(provider)))
            generation = max((pointer.generation, *(number for number in numbers if number is not None))) + 1
            folded = sorted(({*self._folded(pointer)} - set(forget)) | set(listed))
            if self._publish(provider, pointer, generation, state, folded):
                return self._report(provider, listed, state)
        msg = f"the state of {provider} was folded by others {_TRIES} times meanwhile: run again"
        raise StorageError(msg)

    # -- parts

    def _settle(self, paths: Iterable[str]) -> None:
        """See to the names of the event files that a state is made of: their writers may have died before those lasted."""
        for folder in sorted({path.rpartition("/")[0] for path in paths}):
            self.storage.settle(folder)

    def _publish(self, provider: str, before: _Pointer, generation: int, state: pa.Table, folded: Sequence[str]) -> bool:
        """Store a new state, and point at it unless another fold was faster; return whether it counts now."""
        stem = f"{_state_folder(provider)}/{generation:010d}-{uuid.uuid4().hex}"
        published = _Pointer(generation, f"{stem}.state.parquet", f"{stem}.open.parquet", f"{stem}.folded.json")
        self.storage.create(f"{stem}.state.parquet", _to_bytes(state))
        self.storage.create(f"{stem}.open.parquet", _to_bytes(_open_part(state)))
        self.storage.create(f"{stem}.folded.json", msgspec.json.encode(folded))
        reached(Failpoint.FOLD_WRITTEN)
        if self._pointer(provider).generation != before.generation:
            return False
        self.storage.write(f"{_state_folder(provider)}/{_POINTER}", msgspec.json.encode(published))
        reached(Failpoint.FOLD_POINTED)
        self._drop_old_generations(provider, generation)
        return True

    def _pointer(self, provider: str) -> _Pointer:
        path = f"{_state_folder(provider)}/{_POINTER}"
        if not self.storage.exists(path):
            return _Pointer()
        try:
            pointer = msgspec.json.decode(self.storage.read(path), type=_Pointer)
            self._check_names(provider, pointer)
        except (msgspec.DecodeError, ValueError) as error:
            raise self._damaged(path, error) from None
        if pointer.state is not None and not self.storage.exists(pointer.state):
            return _Pointer(pointer.generation)  # the events are the truth: without a state everything is tail
        return pointer

    @staticmethod
    def _check_names(provider: str, pointer: _Pointer) -> None:
        for name in (pointer.state, pointer.open, pointer.folded):
            if name is not None and not (_STATE_FILE.fullmatch(name) and name.startswith(f"{_state_folder(provider)}/")):
                msg = f"it names {name[:80]!r}, which is no file of a fold"
                raise ValueError(msg)

    def _folded(self, pointer: _Pointer) -> frozenset[str]:
        if pointer.folded is None:
            return frozenset()
        try:
            return frozenset(msgspec.json.decode(self.storage.read(pointer.folded), type=list[str]))
        except msgspec.DecodeError as error:
            raise self._damaged(pointer.folded, error) from None

    def _tail(self, provider: str, pointer: _Pointer) -> list[str]:
        folded = self._folded(pointer)
        return [path for path in self._event_files(_events_of(provider)) if path not in folded]

    def _event_files(self, folder: str) -> list[str]:
        """List the event files, and nothing that others (a file manager, a console) may have left beside them."""
        return [info.path for info in self.storage.list(folder) if _is_event_file(info.path)]

    def _merged(self, pointer: _Pointer, tail: Sequence[str]) -> pa.Table:
        events = self._read_events(tail)
        if pointer.state is not None:
            former = self._read_table(pointer.state)
            events.extend(from_table(former))
        merged = winners(events)
        return to_table(sorted(merged.values(), key=lambda event: (event.day, event.key)))

    def _states_of(self, pointer: _Pointer, keys: frozenset[RecordingKey]) -> list[Event]:
        """Return the compacted events of recordings that the open part does not have: they had ended before the fold."""
        if pointer.state is None or not keys:
            return []
        return [event for event in from_table(self._read_table(pointer.state)) if event.key in keys]

    def _read_events(self, paths: Iterable[str]) -> list[Event]:
        return [event for path in paths for event in self._events_of(path, self._read_table(path))]

    def _events_of(self, path: str, table: pa.Table) -> list[Event]:
        try:
            return from_table(table)
        except (ValueError, TypeError, OverflowError) as error:
            raise self._damaged(path, error) from None

    def _read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        data = self.storage.read(path)
        try:
            return _from_bytes(data, columns=columns)
        except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
            raise self._damaged(path, error) from None

    def _damaged(self, path: str, error: Exception) -> StorageError:
        words = redact(" ".join(str(error).split()))[:_REASON_CHARACTERS]  # of a file that may be anybody's
        msg = f"{path} in {self.storage.url} is damaged ({words}): restore it from a copy, or move it away and run again"
        return StorageError(msg)

    def _drop_old_generations(self, provider: str, newest: int) -> None:
        """Readers may still be on the generation before, and a slow fold may be about to point at its own: only old ones go.

        Old by the storage's own clock, in comparison with its newest file.
        """
        files = list(self.storage.list(_state_folder(provider)))
        youngest = max((info.modified for info in files), default=None)
        for info in files:
            number = _generation_of(info.path)
            is_old = youngest is not None and youngest - info.modified >= _GRACE
            if number is not None and number <= newest - _KEPT_GENERATIONS and is_old:
                self.storage.delete(info.path)

    def generation(self, provider: str) -> int:
        """Return the number of the published fold; grows with each."""
        return self._pointer(provider).generation

    @staticmethod
    def _report(provider: str, folded: Sequence[str], state: pa.Table) -> FoldReport:
        days = tuple(sorted({_day_of(path) for path in folded}))
        return FoldReport(provider, len(folded), days, state.num_rows, _open_part(state).num_rows)


def _continued(tail: Iterable[Event]) -> frozenset[RecordingKey]:
    """Return the recordings whose history began before the tail; rare among those that the open part does not have."""
    first: dict[RecordingKey, int] = {}
    for event in tail:
        first[event.key] = min(event.seq, first.get(event.key, event.seq))
    return frozenset(key for key, seq in first.items() if seq > 1)


def _generation_of(path: str) -> int | None:
    """Return the number of the fold that a file of the state belongs to; None for the pointer."""
    number = path.rpartition("/")[2].partition("-")[0]
    return int(number) if number.isdigit() else None


def _is_event_file(path: str) -> bool:
    found = _EVENT_FILE.fullmatch(path)
    try:
        return found is not None and bool(date.fromisoformat(found.group(1)))
    except ValueError:  # a folder of somebody's that looks like a day
        return False


def _open_part(state: pa.Table) -> pa.Table:
    return state.filter(pc.is_in(state["state"], value_set=_OPEN_VALUES))


def _day_of(path: str) -> date:
    found = _EVENT_FILE.fullmatch(path)
    assert found is not None  # noqa: S101 -- it was listed by this pattern
    return date.fromisoformat(found.group(1))


def _events_of(provider: str) -> str:
    return f"{names.EVENTS}/provider={provider}"


def _state_folder(provider: str) -> str:
    return f"{names.STATES}/provider={provider}"


def _to_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _from_bytes(data: bytes, *, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file of :data:`SCHEMA`; columns that it lacks (an older version wrote it) come as nulls."""
    # Event files are small and many: threads, and a copy of each column, cost more than the reading.
    table = pq.ParquetFile(pa.BufferReader(data)).read(columns=columns, use_threads=False)
    wanted = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    if not table.schema.equals(wanted):
        present = [
            table[name].cast(wanted.field(name).type)
            if name in table.column_names
            else pa.nulls(table.num_rows, wanted.field(name).type)
            for name in wanted.names
        ]
        table = pa.Table.from_arrays(present, schema=wanted)
    read = table.replace_schema_metadata()
    empty = [name for name in NEVER_NULL if name in wanted.names and read[name].null_count]
    if empty:
        msg = f"no value in {', '.join(empty)}"
        raise pa.ArrowInvalid(msg)
    return read
