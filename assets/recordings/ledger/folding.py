"""Folding the tail into the states of its days.

A fold reads the states of the days that have something new, makes their new ones, and records exactly which event files went in.
It goes some days at a time, each time with a snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

import msgspec
import pyarrow as pa

from assets.recordings.ledger import ids, places, snapshot, winning
from assets.recordings.ledger.files import to_bytes
from assets.recordings.ledger.packing import one_history
from assets.recordings.ledger.reading import Reader, by_day
from assets.recordings.ledger.snapshot import Partition, Snapshot
from assets.recordings.ledger.upcoming import DAYS_AT_ONCE, TRIES, Next, Opened
from assets.recordings.ledger.waiting import Waiting
from assets.recordings.lifecycle import OPEN_STATES, State
from resources.arrow import compute as pc
from resources.errors import DamagedError, NotStoredError, StorageError


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What a fold did: files that were folded now and their days, recordings in the state, and how many of them are open."""

    provider: str
    new_files: int
    days: tuple[date, ...]
    recordings: int
    open_recordings: int


def fold(reader: Reader, provider: str) -> FoldReport:
    """Fold the tail into the states. Safe beside any number of writers and readers, and beside another fold.

    Raises:
        StorageError: an event file is damaged, or the root failed; days that were folded before stay so.
    """
    if reader.latest(provider) is None and reader.filed(provider):
        return refold(reader, provider)
    files, days, tries = 0, set[date](), 0
    while tries < TRIES:
        taken = reader.latest(provider) or Snapshot()
        tail = by_day(reader.tail(provider, taken if taken.generation else None))
        if not tail:
            break
        some = {day: tail[day] for day in sorted(tail)[:DAYS_AT_ONCE]}
        if _fold_days(reader, provider, taken, some):
            files += sum(map(len, some.values()))
            days |= some.keys()
            tries = 0
        else:
            tries += 1  # another fold was faster: what it left is looked at again
    return _report(reader, provider, files, days)


def _fold_days(reader: Reader, provider: str, taken: Snapshot, tail: Mapping[date, Sequence[str]]) -> bool:
    upcoming = Next.after(reader, provider, taken)
    reader.settle(path for paths in tail.values() for path in paths)
    opened = reader.published_open(provider, taken if taken.generation else None)
    changed = pa.array(list(tail), pa.date32())
    opened_tables = [opened.filter(pc.invert(pc.is_in(opened["date"], value_set=changed)))]
    pairs = [ids.PAIRS.empty_table()]
    bases = set(taken.bases)
    for day, paths in tail.items():
        before = upcoming.parts.get(day)
        former, appended = reader.state(provider, before), reader.table(paths)
        state = winning.winners_of([former, appended])
        upcoming.set_state(day, state, {*(before.folded if before is not None else ()), *paths})
        upcoming.folded |= set(paths)
        opened_tables.append(winning.open_part(state))
        pairs.append(_new_pairs(state, former))
        bases |= _bases_of(appended)
    index = ids.grown(reader.storage, provider, upcoming.generation, taken.ids, pa.concat_tables(pairs))
    return upcoming.publish(_put_open(reader, provider, upcoming.generation, opened_tables), index, bases)


def is_whole(reader: Reader, provider: str) -> bool:
    """Whether the list of days, the open recordings and the index of the current snapshot are there: one listing."""
    taken = reader.latest(provider)
    there = {info.path for info in reader.storage.list(places.ledger_folder(provider))}
    if taken is None or there.issuperset(taken.own_files):
        return True
    return not reader.is_current(provider, taken)  # others have gone on meanwhile, and tidied up


def refold(reader: Reader, provider: str, *, forget: Collection[str] = ()) -> FoldReport:
    """Make the states again from the events alone, whatever the published ones say, and whether those can be read.

    Files that those were made of and that are gone stay named, but for those to ``forget``.

    Raises:
        StorageError: a file of events cannot be read; or others went on folding meanwhile: nothing is lost, run again.
    """
    return _refolded(reader, provider, frozenset(forget), is_trusting=False)


def mend(reader: Reader, provider: str) -> FoldReport:
    """Make again from the events what somebody has deleted of the compacted state, and lose nothing on the way.

    The tail stays the tail: whoever folds it sees to its manifests first.
    Where events are gone too, the state of their day goes on saying what it said: a rebuild writes them again from that.

    Raises:
        StorageError: as :func:`refold`.
    """
    return _refolded(reader, provider, frozenset(), is_trusting=True)


def _refolded(reader: Reader, provider: str, forget: frozenset[str], *, is_trusting: bool) -> FoldReport:
    for _ in range(TRIES):
        taken, former = snapshot.readable(reader.storage, provider)
        current = reader.latest(provider) if is_trusting else None
        tail = frozenset(reader.tail(provider, current) if current is not None else ())
        files = by_day(path for path in [*reader.filed(provider), *reader.appended(provider)] if path not in tail)
        if _refold_days(_Former(reader, provider, taken, former, forget, is_trusting), files):
            return _report(reader, provider, sum(map(len, files.values())), set(files))
    msg = f"the state of {provider} was folded by others {TRIES} times meanwhile: run again"
    raise StorageError(msg)


@dataclass(frozen=True, slots=True)
class _Former:
    """What a refold finds: the newest snapshot that can be read, and its days.

    Attributes:
        reader: of the archive.
        provider: whose.
        taken: the snapshot.
        parts: its days.
        forget: event files that are gone for good.
        is_trusting: whether its states stand in for events that are gone.
    """

    reader: Reader
    provider: str
    taken: Snapshot
    parts: Mapping[date, Partition]
    forget: frozenset[str]
    is_trusting: bool

    def gone(self, day: date, there: Collection[str]) -> set[str]:
        """Return the files of events that a day's state was made of and that are not ``there``."""
        part = self.parts.get(day)
        return part.events_from.difference(there, self.forget) if part is not None else set()

    def state(self, day: date) -> pa.Table:
        """Return what the former state says of a day whose events are gone; no row where that is not to be asked, or is gone."""
        part = self.parts.get(day)
        if part is not None and self.is_trusting:
            with suppress(NotStoredError, DamagedError):
                return self.reader.stored_state(part)
        return winning.empty()


def _refold_days(before: _Former, files: Mapping[date, Sequence[str]]) -> bool:
    reader, provider, taken, former = before.reader, before.provider, before.taken, before.parts
    # Beyond what is there, damaged or not. And beyond snapshots that were deleted: of two files of compacted events the greater
    # number is the newer.
    numbers = (places.generation_of_history(path) for paths in files.values() for path in paths)
    number = max(snapshot.newest_number(reader.storage, provider), *numbers, 0)
    upcoming = Next(reader, provider, taken, {}, set(), number=number)
    upcoming.leaving |= {part.state for part in former.values()}
    reader.settle(path for paths in files.values() for path in paths)
    opened, index = list[pa.Table](), tuple[ids.Segment, ...]()
    bases = set(taken.bases) if before.is_trusting else set[str]()
    for day in sorted(files.keys() | former.keys()):  # a day at a time: all events at once would not fit into memory
        there = files.get(day, ())
        table = reader.table(there)
        compacted = one_history(upcoming, day, there)
        raw = {path for path in there if not places.is_history(path)}
        gone = before.gone(day, there) - compacted.packed
        state = winning.winners_of([table, before.state(day)] if gone else [table])
        upcoming.set_state(day, state, (raw - compacted.packed) | gone)
        upcoming.parts[day] = msgspec.structs.replace(upcoming.parts[day], history=compacted.path, events=compacted.rows)
        upcoming.folded |= raw
        upcoming.leaving |= raw & compacted.packed  # a snapshot that was lost may have said so
        opened.append(winning.open_part(state))
        bases |= _bases_of(table)
        index = ids.grown(reader.storage, provider, upcoming.generation, index, _new_pairs(state, winning.empty()))
    return upcoming.publish(_put_open(reader, provider, upcoming.generation, opened), index, bases)


def _report(reader: Reader, provider: str, files: int, days: Iterable[date]) -> FoldReport:
    parts = reader.partitions(reader.latest(provider)).values()
    opened = sum(part.states.get(state.value, 0) for part in parts for state in OPEN_STATES)
    return FoldReport(provider, files, tuple(sorted(days)), sum(part.recordings for part in parts), opened)


def _put_open(reader: Reader, provider: str, generation: int, tables: Sequence[pa.Table]) -> Opened:
    path = f"{places.new_stem(provider, generation)}.open.parquet"
    table = pa.concat_tables([winning.empty(), *tables])
    by_time = table.sort_by([(name, "ascending") for name in ("next_attempt_at", "date", "execution_id", "leg")])
    is_blocked = pc.equal(by_time["state"], State.BLOCKED.value)
    parts = (by_time.filter(pc.invert(is_blocked)), by_time.filter(is_blocked))
    reader.storage.create(path, to_bytes(*parts, read_often=("execution_id",)))
    return Opened(path, Waiting.of(table))


def _new_pairs(state: pa.Table, former: pa.Table) -> pa.Table:
    """Return the ids and days of the executions that a day's state has and its former one had not."""
    new = state.filter(pc.invert(pc.is_in(state["execution_id"], value_set=former["execution_id"].combine_chunks())))
    return new.select(ids.PAIRS.names).group_by(ids.PAIRS.names).aggregate([]).cast(ids.PAIRS)


def _bases_of(table: pa.Table) -> set[str]:
    return {base for base in table["proved_base"].unique().to_pylist() if base is not None}
