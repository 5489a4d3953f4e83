"""Reading the ledger: the states that a fold has published, overlaid with the tail that it does not know.

A reading is right at every moment: before a fold, after it, and while two folds race. It takes a snapshot first, and lists the
tail after it: what is folded in between is then in both, and counts once. Files that a snapshot names may go while they are
read, long after newer ones have taken their place: then it is done again, with the newer ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ParamSpec, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from assets.recordings import names
from assets.recordings.events import SCHEMA
from assets.recordings.ledger import ids, places, snapshot, winning
from assets.recordings.ledger.files import damaged, read_day, read_tables
from assets.recordings.ledger.snapshot import Partition, Snapshot
from assets.recordings.lifecycle import State
from resources.arrow import compute as pc
from resources.errors import NotStoredError
from resources.storage import ArchiveStorage

_TRIES = 5
_FEW_DAYS = 3
_KEY = ["date", "execution_id", "leg"]
_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


def again_when_folded(read: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
    """Read again when a file that was being read is gone: folds have gone on meanwhile, and newer ones are there."""

    @functools.wraps(read)
    def reading(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
        for _ in range(_TRIES - 1):
            try:
                return read(*args, **kwargs)
            except NotStoredError:
                continue
        return read(*args, **kwargs)

    return reading


@dataclass(frozen=True, slots=True)
class Look:
    """What lies in a provider's ledger at one moment, for questions about many days: listed once.

    Attributes:
        taken: the snapshot, which was read first; None where nothing was folded yet.
        appended: the event files of the tail's folder by day, folded or not, ascending.
        filed: files of compacted events by day, and those that older versions have put beside them.
    """

    taken: Snapshot | None
    appended: Mapping[date, Sequence[str]]
    filed: Mapping[date, Sequence[str]]
    _folded: frozenset[str]

    def tail(self, day: date) -> list[str]:
        """Return the event files of a day that no state knows."""
        filed = self.filed.get(day, ()) if self.taken is None else ()
        return [*filed, *(path for path in self.appended.get(day, ()) if path not in self._folded)]

    def event_files(self, day: date) -> list[str]:
        """Return the event files of a day as runs appended them, ascending; compacted ones are gone from it."""
        filed = (path for path in self.filed.get(day, ()) if not places.is_history(path))
        return [*filed, *self.appended.get(day, ())]


@dataclass(slots=True)
class Reader:
    """Reads the files of one archive's ledger. Keeps the last list of partitions, which never changes under its name."""

    storage: ArchiveStorage
    _partitions: tuple[str, dict[date, Partition]] = ("", {})

    def latest(self, provider: str) -> Snapshot | None:
        """Return the current snapshot; None where nothing was folded yet."""
        return snapshot.latest(self.storage, provider)

    def is_current(self, provider: str, taken: Snapshot) -> bool:
        """Return whether no newer snapshot has taken this one's place: then what it names and is not there was deleted."""
        current = self.latest(provider)
        return current is not None and current.generation == taken.generation

    def partitions(self, taken: Snapshot | None) -> dict[date, Partition]:
        """Return the days of a snapshot; none of None."""
        if taken is None:
            return {}
        known, parts = self._partitions
        if known != taken.days:
            parts = snapshot.partitions(self.storage, taken)
            self._partitions = (taken.days, parts)
        return parts

    # -- names

    def appended(self, provider: str) -> list[str]:
        """Return the event files of the tail's folder, ascending, folded or not."""
        return [info.path for info in self.storage.list(names.tail_folder(provider)) if places.is_events(info.path)]

    def filed(self, provider: str, day: date | None = None) -> list[str]:
        """Return the files of compacted events, of one day or of all, and those that older versions have put beside them."""
        folder = names.events_folder(provider, day) if day is not None else f"{names.EVENTS}/provider={provider}"
        return [info.path for info in self.storage.list(folder) if places.is_events(info.path)]

    def tail(self, provider: str, taken: Snapshot | None) -> list[str]:
        """Return the event files that no state knows. Without a snapshot those are all that there are, compacted ones too."""
        if taken is None:
            return [*self.filed(provider), *self.appended(provider)]
        folded = frozenset(taken.folded)
        return [path for path in self.appended(provider) if path not in folded]

    def look(self, provider: str, days: Collection[date]) -> Look:
        """List what lies there of some days; a few of them do not cost a listing of all compacted events."""
        taken = self.latest(provider)
        each = [self.filed(provider, day) for day in days] if len(days) <= _FEW_DAYS else [self.filed(provider)]
        appended, filed = self.appended(provider), [path for paths in each for path in paths]
        self.settle([*appended, *filed] if taken is None else appended)
        return Look(taken, by_day(appended), by_day(filed), frozenset(taken.folded) if taken is not None else frozenset[str]())

    # -- tables

    def table(self, paths: Iterable[str], columns: list[str] | None = None) -> pa.Table:
        """Return the rows of several files."""
        return read_tables(self.storage, list(paths), columns)

    def state(self, provider: str, part: Partition | None, columns: list[str] | None = None) -> pa.Table:
        """Return the folded state of a partition; where its file was deleted, made again from the events."""
        if part is None:
            return self.table([], columns)
        try:
            return self.stored_state(part, columns)
        except NotStoredError:
            current = self.partitions(self.latest(provider)).get(part.day)
            if current is None or current.state != part.state:
                raise
        state = winning.winners_of([self.table(self.sources(part))])
        return state if columns is None else state.select(columns)

    def stored_state(self, part: Partition, columns: list[str] | None = None) -> pa.Table:
        """Return the folded state of a partition as it is stored.

        Raises:
            NotStoredError: its file is gone.
            DamagedError: it is damaged.
        """
        if not places.is_month(part.state):
            return read_tables(self.storage, [part.state], columns)
        table = read_day(self.storage, part.state, part.day, columns)
        if table.num_rows != part.recordings:
            error = ValueError(f"{table.num_rows} of {part.recordings} recordings of {part.day}")
            raise damaged(self.storage, part.state, error)
        return table

    def sources(self, part: Partition) -> list[str]:
        """Return the files of events that a partition's state was made of, but for those that are gone."""
        found = [part.history] if part.history is not None else []
        return [*found, *(path for path in part.folded if self.storage.exists(path))]

    def day(self, provider: str, day: date, columns: list[str] | None = None, look: Look | None = None) -> pa.Table:
        """Return the winning event of each recording of one partition, or the ``columns`` of it; now, or as of a ``look``."""
        if look is not None:
            taken, tail = look.taken, look.tail(day)
        else:
            taken = self.latest(provider)
            tail = [path for path in self.tail(provider, taken) if places.day_of(path) == day]
            self.settle(tail)
        part = self.partitions(taken).get(day)
        needed = None if columns is None else list(dict.fromkeys([*columns, *winning.ORDER_COLUMNS]))
        latest = winning.winners_of([self.state(provider, part, needed), self.table(tail, needed)])
        return latest if columns is None else latest.select(columns)

    def everything(self, provider: str) -> Iterable[pa.Table]:
        """Yield the winning events, a partition at a time."""
        taken = self.latest(provider)
        parts, tail = self.partitions(taken), by_day(self.tail(provider, taken))
        for day in sorted(parts.keys() | tail.keys()):
            yield winning.winners_of([self.state(provider, parts.get(day)), self.table(tail.get(day, ()))])

    def open(self, provider: str, columns: list[str] | None = None) -> pa.Table:
        """Return the winning events of the recordings that have not ended, over all partitions.

        Reads the published open ones and the tail, not the history.
        """
        taken = self.latest(provider)
        tail = self.tail(provider, taken)
        if not tail:
            return self.published_open(provider, taken, columns)
        needed = None if columns is None else list(dict.fromkeys([*columns, *winning.ORDER_COLUMNS]))
        appended = read_tables(self.storage, tail, needed, again=True)
        latest = winning.winners_of([appended])
        wanted = latest["execution_id"].combine_chunks()
        # Most of a tail is about recordings that are new: then the rest of the columns is not read.
        few = None if columns is None else list(dict.fromkeys([*columns, "execution_id"]))
        published = self.published_open(provider, taken, few)
        is_touched = pc.is_in(published["execution_id"], value_set=wanted)
        touched = latest.slice(0, 0)
        if pc.any(is_touched).as_py():
            published = published if needed is None else self.published_open(provider, taken, needed)
            touched = published.filter(is_touched)
        continued = _continued(appended, latest, touched)
        states = [self._rows_of(provider, part, continued, needed) for part in self._parts_of(taken, continued)]
        opened = winning.open_part(winning.winners_of([touched, latest, *states]))
        rest = published.filter(pc.invert(is_touched))
        if columns is None:
            return pa.concat_tables([rest, opened])
        return pa.concat_tables([rest.select(columns), opened.select(columns)])

    def early(self, taken: Snapshot, until: datetime, columns: list[str]) -> tuple[pa.Table, datetime | None]:
        """Return the published open recordings with a time up to ``until``, some later ones, and the first time of the rest.

        They are sorted by it: what comes after is not read. The blocked ones, which wait together, lie behind the others; their
        own times, of which all but the last say nothing, are none of the rest's.

        Raises:
            NotStoredError: their file is gone.
            DamagedError: it is damaged.
        """
        blocked_until = taken.waiting.blocked_until if taken.waiting is not None else None
        with self.storage.open(taken.open) as source:
            try:
                with pq.ParquetFile(source) as file:
                    first = [_first_time(file, number, until, blocked_until) for number in range(file.metadata.num_row_groups)]
                    groups = [number for number, moment in enumerate(first) if moment is not None and moment <= until]
                    later = [moment for moment in first if moment is not None and moment > until]
                    return file.read_row_groups(groups, columns=columns, use_threads=False), min(later, default=None)
            except (pa.ArrowException, OSError) as error:
                raise damaged(self.storage, taken.open, error) from None

    def published_open(self, provider: str, taken: Snapshot | None, columns: list[str] | None = None) -> pa.Table:
        """Return the open recordings as a fold has published them; made again from the states where the file was deleted."""
        if taken is None:
            return self.table([], columns)
        try:
            return self.table([taken.open], columns)
        except NotStoredError:
            current = self.latest(provider)
            if current is None or current.open != taken.open:
                raise
        opened = (winning.open_part(self.state(provider, part)) for part in self.partitions(taken).values())
        table = pa.concat_tables([SCHEMA.empty_table(), *opened])
        return table if columns is None else table.select(columns)

    def _parts_of(self, taken: Snapshot | None, rows: pa.Table) -> list[Partition]:
        if rows.num_rows == 0:
            return []
        parts = self.partitions(taken)
        return [parts[day] for day in cast("list[date]", rows["date"].unique().to_pylist()) if day in parts]

    def _rows_of(self, provider: str, part: Partition, keys: pa.Table, columns: list[str] | None) -> pa.Table:
        state = self.state(provider, part, columns)
        return state.filter(pc.is_in(state["execution_id"], value_set=keys["execution_id"].unique()))

    def find(self, provider: str, execution_id: str) -> pa.Table:
        """Return the winning events of one execution's recordings, by way of the index of ids: no day has to be known."""
        taken = self.latest(provider)
        tail = self.table(self.tail(provider, taken))
        mine = tail.filter(pc.equal(tail["execution_id"], execution_id))
        days = self._days_of(provider, taken, execution_id) if taken is not None else set[date]()
        parts = self.partitions(taken) if days else {}
        rows = [self._rows_of(provider, parts[day], _one(execution_id), None) for day in sorted(days & parts.keys())]
        return winning.winners_of([mine, *rows])

    def _days_of(self, provider: str, taken: Snapshot, execution_id: str) -> set[date]:
        """Return the days on which an execution is; all days, where a part of the index was deleted."""
        try:
            return set(ids.days_of(self.storage, taken.ids, execution_id))
        except NotStoredError:
            if not self.is_current(provider, taken):
                raise
        return set(self.partitions(taken))

    # -- events

    def packed(self, taken: Snapshot) -> frozenset[str]:
        """Return the event files that still lie in the tail's folder though a history holds their rows."""
        waiting = {path for part in self.partitions(taken).values() for path in part.folded}
        return frozenset(path for path in taken.folded if path not in waiting)

    def events(self, provider: str) -> Iterable[pa.Table]:
        """Yield every event, a file at a time, each once."""
        taken = self.latest(provider)
        if taken is None:
            yield _each_once(self.table(self.tail(provider, None)))
            return
        packed, parts = self.packed(taken), self.partitions(taken).values()
        outside = {path for part in parts for path in part.folded if self.storage.exists(path)}
        outside |= {path for path in self.appended(provider) if path not in packed}
        for path in [*(part.history for part in parts if part.history is not None), *sorted(outside)]:
            yield read_tables(self.storage, [path])

    def settle(self, paths: Iterable[str]) -> None:
        """See to the names of event files that something is built on: their writers may have died before those lasted."""
        for folder in sorted({path.rpartition("/")[0] for path in paths}):
            self.storage.settle(folder)


def by_day(paths: Iterable[str]) -> dict[date, list[str]]:
    """Return files of events by their partition."""
    found: dict[date, list[str]] = {}
    for path in paths:
        found.setdefault(places.day_of(path), []).append(path)
    return found


def _continued(appended: pa.Table, latest: pa.Table, touched: pa.Table) -> pa.Table:
    """Return the keys of the tail for which the states have to be asked.

    Those would be open by the tail, are not among the open ones that are published, and began before the tail: they had ended by
    the time of the fold, or somebody asked for them again.

    Args:
        appended: the tail.
        latest: its winning events.
        touched: the published open recordings that it may be about.
    """
    opened = winning.open_part(latest)
    opened = opened.filter(pc.greater(opened["seq"], 1))
    if opened.num_rows and touched.num_rows:
        opened = opened.join(touched.select(_KEY), _KEY, join_type="left anti")
    if opened.num_rows == 0:
        return opened.select(_KEY)
    mine = appended.filter(pc.is_in(appended["execution_id"], value_set=opened["execution_id"].combine_chunks()))
    first = mine.group_by(_KEY).aggregate([("seq", "min")])
    late = first.filter(pc.greater(first["seq_min"], 1)).select(_KEY)
    return late.join(opened.select(_KEY), _KEY, join_type="left semi") if late.num_rows else late


def _first_time(file: pq.ParquetFile, group: int, until: datetime, blocked_until: datetime | None) -> datetime | None:
    """Return what the first of a row group of open recordings waits for; ``until``, where only the rows can tell."""
    moments, states = (_bounds(file, group, name) for name in ("next_attempt_at", "state"))
    if moments is None or states is None or State.BLOCKED.value not in states:
        return moments[0] if moments is not None else None
    return blocked_until if states[0] == states[1] else until  # an older version put blocked ones among the others


def _bounds(file: pq.ParquetFile, group: int, column: str) -> tuple[Any, Any] | None:
    found = file.metadata.row_group(group).column(file.schema_arrow.get_field_index(column)).statistics
    return (found.min, found.max) if found is not None and found.has_min_max else None


def _one(execution_id: str) -> pa.Table:
    return pa.table({"execution_id": [execution_id]})


def _each_once(table: pa.Table) -> pa.Table:
    """Return the rows of files of which one may be a compaction of others."""
    first = (
        table.append_column("row", pa.array(range(table.num_rows), pa.int64())).group_by("event_id").aggregate([("row", "min")])
    )
    return table.take(first["row_min"].sort())
