"""The ledger: append-only event files, and the compacted state that a fold makes of them.

Writers never coordinate. Each flush is one immutable Parquet file of its own, so any number of runs and hosts write at once and
nothing is updated in place. A *fold* reads the former state and the files that it did not know, writes the state after them, and
records **exactly which files it folded**; the *tail* is the listing minus that set. Clocks decide nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, cast

import pyarrow as pa

from assets.recordings.events import Event, from_table, table_of, to_rows
from assets.recordings.ledger import folding, leaving, months, packing, places, winning
from assets.recordings.ledger.chain import Chain
from assets.recordings.ledger.digests import row_digests
from assets.recordings.ledger.files import damaged
from assets.recordings.ledger.folding import FoldReport
from assets.recordings.ledger.history import History, read_history
from assets.recordings.ledger.packing import PackReport
from assets.recordings.ledger.reading import Look, Reader, again_when_folded
from assets.recordings.ledger.snapshot import Partition, Snapshot, readable
from assets.recordings.ledger.standing import Standing
from assets.recordings.ledger.waiting import Waiting
from resources.errors import NotStoredError
from resources.failpoints import Failpoint, reached
from resources.model import RecordingKey
from resources.storage import ArchiveStorage


@dataclass(frozen=True, slots=True)
class Early:
    """The first of the open recordings, by their times.

    Attributes:
        waiting: what all of them wait for.
        recordings: those with a time up to the one that was asked for, and perhaps some later ones.
        later: the first time of the others, UTC.
    """

    waiting: Waiting
    recordings: pa.Table
    later: datetime | None


@dataclass(slots=True)
class Ledger:
    """The ledger of one archive root. Every call reads the storage; only the end of its own audit trail is kept."""

    storage: ArchiveStorage
    _chain: Chain = field(default_factory=Chain)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = Reader(self.storage)

    # -- writing

    def append(self, events: Sequence[Event], moment: datetime) -> None:
        """Write ``events`` (of one provider) durably, one file for each partition among them.

        Raises:
            StorageError: nothing, or whole partitions' files, were written; writing them again is harmless.
        """
        for day in sorted({event.day for event in events}):
            of_day = [event for event in events if event.day == day]
            path = places.new_event_path(of_day[0].key.provider, day, moment, of_day[0].run_id)
            with self._turn:
                rows = to_rows(of_day)
                data = self._chain.encode(path, table_of(rows), row_digests(rows))
                reached(Failpoint.EVENT_FILE_ENCODED)
                self.storage.create(path, data)
                self._chain.written(path, data)
            reached(Failpoint.EVENT_FILE_WRITTEN)

    # -- states

    @again_when_folded
    def read_day(self, provider: str, day: date) -> dict[RecordingKey, Event]:
        """Return the winning event of every recording of one partition."""
        return self._events_in(self._reader.day(provider, day))

    @again_when_folded
    def read_columns(
        self, provider: str, day: date, columns: Sequence[str], look: Look | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Return the same as rows of some columns: the others are not read, and no event is made of them, which takes longer.

        Args:
            provider: whose.
            day: which partition.
            columns: of :data:`~assets.recordings.events.SCHEMA`.
            look: what to read; what is there now by default.

        Raises:
            NotStoredError: a file that the ``look`` saw is gone since.
            StorageError: an event file is damaged in these columns, or in those that decide which event wins.
        """
        table = self._reader.day(provider, day, list(columns), look)
        try:
            return zip(*(cast("list[Any]", column.to_pylist()) for column in table.columns), strict=True)
        except (ValueError, TypeError, OverflowError) as error:
            raise damaged(self.storage, "an event file", error) from None

    @again_when_folded
    def open_table(self, provider: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the winning event of every recording that is not in a terminal state, over all partitions.

        Reads the open part of the compacted state and the tail, not the history.

        Args:
            provider: whose.
            columns: of :data:`~assets.recordings.events.SCHEMA`; None for all.
        """
        return self._reader.open(provider, list(columns) if columns is not None else None)

    @again_when_folded
    def early(self, provider: str, until: datetime, columns: Sequence[str]) -> Early | None:
        """Return what the open recordings wait for, and those with a time up to ``until``.

        None where the tail has news of them, or where their file was deleted: then :meth:`open_table` knows them.

        Args:
            provider: whose.
            until: UTC.
            columns: of the recordings, the time among them.
        """
        taken = self._reader.latest(provider)
        if taken is None or taken.waiting is None or self._reader.tail(provider, taken):
            return None
        if taken.waiting.next_at is None or taken.waiting.next_at > until:
            return Early(taken.waiting, self._reader.table([], list(columns)), taken.waiting.next_at)
        try:
            return Early(taken.waiting, *self._reader.early(taken, until, list(columns)))
        except NotStoredError:
            if not self._reader.is_current(provider, taken):
                raise
        return None

    def read_open(self, provider: str) -> dict[RecordingKey, Event]:
        """Return the same as events."""
        return self._events_in(self.open_table(provider))

    @again_when_folded
    def state_table(self, provider: str) -> pa.Table:
        """Return the winning event of every recording of the provider as a table of the events' schema: the whole history."""
        return pa.concat_tables([winning.empty(), *self._reader.everything(provider)])

    def state_tables(self, provider: str) -> Iterator[pa.Table]:
        """Yield the same, a partition at a time; a fold that goes on meanwhile may be seen in some and not in others."""
        for day in self.days(provider):
            yield self._day_table(provider, day)

    @again_when_folded
    def standing(self, provider: str) -> Standing:
        """Return how many recordings are in each state, by the counts of the folded days and the days that the tail touches."""
        taken = self._reader.latest(provider)
        parts, touched = self._reader.partitions(taken), {places.day_of(path) for path in self._reader.tail(provider, taken)}
        return Standing.total(
            (part for day, part in parts.items() if day not in touched),
            (Standing.of(self._reader.day(provider, day)) for day in sorted(touched)),
        )

    @again_when_folded
    def find(self, provider: str, execution_id: str) -> dict[RecordingKey, Event]:
        """Return the winning event of each recording of one execution, whose day need not be known."""
        return self._events_in(self._reader.find(provider, execution_id))

    @again_when_folded
    def base_has_proved_right(self, provider: str, api_base: str) -> bool:
        """Return whether this base URL has ever led to a recording, or to a recording's own "not ready"."""
        taken = self._reader.latest(provider)
        if taken is not None and api_base in taken.bases:
            return True
        tail = self._reader.table(self._reader.tail(provider, taken), ["proved_base"])
        return api_base in tail["proved_base"].unique().to_pylist()

    # -- files

    @again_when_folded
    def days(self, provider: str) -> list[date]:
        """Return the partitions that have events, ascending."""
        taken = self._reader.latest(provider)
        tail = {places.day_of(path) for path in self._reader.tail(provider, taken)}
        return sorted(tail | self._reader.partitions(taken).keys())

    @again_when_folded
    def tail_days(self, provider: str) -> set[date]:
        """Return the partitions that have events which no fold knows yet."""
        return {places.day_of(path) for path in self._reader.tail(provider, self._reader.latest(provider))}

    @again_when_folded
    def look(self, provider: str, days: Collection[date]) -> Look:
        """List what the ledger has of some days, for questions that they share; see :class:`Look`."""
        return self._reader.look(provider, days)

    def event_files(self, provider: str, day: date) -> list[str]:
        """Return the paths of a partition's event files as runs appended them, ascending; compacted ones are gone from it."""
        filed = (path for path in self._reader.filed(provider, day) if not places.is_history(path))
        return [*filed, *(path for path in self._reader.appended(provider) if places.day_of(path) == day)]

    def history_files(self, provider: str, day: date) -> list[str]:
        """Return the paths of a partition's compacted events: the current file, and others that leave or that nobody names."""
        return [path for path in self._reader.filed(provider, day) if places.is_history(path)]

    def read_history(self, path: str) -> History:
        """Return a file of compacted events, taken apart.

        Raises:
            NotStoredError: it is gone.
        """
        return read_history(path, self.storage.read(path))

    def snapshot(self, provider: str) -> Snapshot | None:
        """Return which files the provider's ledger consists of; None before the first fold."""
        return self._reader.latest(provider)

    @again_when_folded
    def partitions(self, provider: str) -> dict[date, Partition]:
        """Return the days of the current snapshot: their files, and how many recordings are in each state."""
        return self._reader.partitions(self._reader.latest(provider))

    def partitions_of(self, snapshot: Snapshot | None) -> dict[date, Partition]:
        """Return the days of a snapshot.

        Raises:
            NotStoredError: newer ones have taken its place long ago.
        """
        return self._reader.partitions(snapshot)

    def state_of(self, provider: str, part: Partition | None) -> pa.Table:
        """Return the folded state of a partition, without the tail."""
        return self._reader.state(provider, part)

    @again_when_folded
    def events_table(self, provider: str) -> pa.Table:
        """Return every event of the provider as a table of the events' schema: the whole history."""
        return pa.concat_tables([winning.empty(), *self._reader.events(provider)])

    def generation(self, provider: str) -> int:
        """Return the number of the current snapshot; grows with each."""
        taken = self._reader.latest(provider)
        return taken.generation if taken is not None else 0

    def readable(self, provider: str) -> tuple[Snapshot, dict[date, Partition]]:
        """Return the newest snapshot that can be read, with its days; see :func:`assets.recordings.ledger.snapshot.readable`."""
        return readable(self.storage, provider)

    def event_days(self, provider: str) -> set[date]:
        """Return the partitions that have event files, whatever the snapshots say."""
        return {places.day_of(path) for path in [*self._reader.filed(provider), *self._reader.appended(provider)]}

    # -- folding

    @again_when_folded
    def fold(self, provider: str) -> FoldReport:
        """Compact the tail into the state. Safe beside any number of writers and readers, and beside another fold."""
        return folding.fold(self._reader, provider)

    @again_when_folded
    def refold(self, provider: str, *, forget: Collection[str] = ()) -> FoldReport:
        """Make the compacted state again from the event files alone, whatever the published one says.

        Files that the published one was made of and that are gone stay named in it, but for those to ``forget``.

        Raises:
            StorageError: a file cannot be read; or others went on folding meanwhile: nothing is lost, run again.
        """
        return folding.refold(self._reader, provider, forget=forget)

    @again_when_folded
    def is_whole(self, provider: str) -> bool:
        """Whether the files of the current snapshot itself are there; those of its days are not looked for."""
        return folding.is_whole(self._reader, provider)

    @again_when_folded
    def mend(self, provider: str) -> FoldReport:
        """Make what was deleted of the compacted state again, losing nothing; see :func:`assets.recordings.ledger.folding.mend`.

        Raises:
            StorageError: a file cannot be read; or others went on folding meanwhile: nothing is lost, run again.
        """
        return folding.mend(self._reader, provider)

    @again_when_folded
    def pack(self, provider: str) -> PackReport:
        """Compact the event files that were folded into one sorted file a day."""
        return packing.pack(self._reader, provider)

    @again_when_folded
    def pack_months(self, provider: str, settled: timedelta = months.SETTLED) -> list[date]:
        """Put the states of past months into one file each; see :func:`assets.recordings.ledger.months.pack_months`."""
        return months.pack_months(self._reader, provider, settled)

    def retire(
        self, provider: str, *, grace: timedelta, shown: int | None, before_delete: Callable[[Collection[str]], None]
    ) -> int:
        """Remove files that were replaced long ago; see :func:`assets.recordings.ledger.leaving.retire`."""
        return leaving.retire(self._reader, provider, grace=grace, shown=shown, before_delete=before_delete)

    # -- parts

    @again_when_folded
    def _day_table(self, provider: str, day: date) -> pa.Table:
        return self._reader.day(provider, day)

    def _events_in(self, table: pa.Table) -> dict[RecordingKey, Event]:
        try:
            return {event.key: event for event in from_table(table)}
        except (ValueError, TypeError, OverflowError) as error:
            raise damaged(self.storage, "an event file", error) from None
