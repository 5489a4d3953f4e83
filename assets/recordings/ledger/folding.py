"""Folding the tail into the states of its days.

A fold reads the states of the days that have something new, makes their new ones, and records exactly which event files went in.
It goes some days at a time, each time with a snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import msgspec
import pyarrow as pa

from assets.recordings.ledger import ids, places, winning
from assets.recordings.ledger.files import to_bytes
from assets.recordings.ledger.packing import one_history
from assets.recordings.ledger.reading import Reader, by_day
from assets.recordings.ledger.snapshot import Partition, Snapshot
from assets.recordings.ledger.upcoming import DAYS_AT_ONCE, TRIES, Next, Opened
from assets.recordings.ledger.waiting import Waiting
from assets.recordings.lifecycle import OPEN_STATES, State
from resources.arrow import compute as pc
from resources.errors import NotStoredError, StorageError


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


def refold(reader: Reader, provider: str, *, forget: Collection[str] = ()) -> FoldReport:
    """Make the states again from the events alone, whatever the published ones say.

    Files that those were made of and that are gone stay named, but for those to ``forget``.

    Raises:
        StorageError: a file cannot be read; or others went on folding meanwhile: nothing is lost, run again.
    """
    for _ in range(TRIES):
        before = reader.latest(provider)
        taken = before or Snapshot()
        files = by_day([*reader.filed(provider), *reader.appended(provider)])
        if _refold_days(reader, provider, taken, files, frozenset(forget)):
            return _report(reader, provider, sum(map(len, files.values())), set(files))
    msg = f"the state of {provider} was folded by others {TRIES} times meanwhile: run again"
    raise StorageError(msg)


def _refold_days(
    reader: Reader, provider: str, taken: Snapshot, files: Mapping[date, Sequence[str]], forget: frozenset[str]
) -> bool:
    former = _former_parts(reader, taken)
    # Also beyond those of snapshots that were deleted: of two files of compacted events the greater number is the newer.
    number = max((places.generation_of_history(path) for paths in files.values() for path in paths), default=0)
    upcoming = Next(reader, provider, taken, {}, set(), number=number)
    upcoming.leaving |= {part.state for part in former.values()}
    reader.settle(path for paths in files.values() for path in paths)
    opened, bases, index = list[pa.Table](), set[str](), tuple[ids.Segment, ...]()
    for day in sorted(files.keys() | former.keys()):  # a day at a time: all events at once would not fit into memory
        table = reader.table(files.get(day, ()))
        state = winning.winners_of([table])
        compacted = one_history(upcoming, day, files.get(day, ()))
        raw = {path for path in files.get(day, ()) if not places.is_history(path)}
        gone = {path for path in (former[day].events_from if day in former else ()) if path not in files.get(day, ())} - forget
        upcoming.set_state(day, state, (raw | gone) - compacted.packed)
        upcoming.parts[day] = msgspec.structs.replace(upcoming.parts[day], history=compacted.path, events=compacted.rows)
        upcoming.folded |= raw
        opened.append(winning.open_part(state))
        bases |= _bases_of(table)
        index = ids.grown(reader.storage, provider, upcoming.generation, index, _new_pairs(state, winning.empty()))
    return upcoming.publish(_put_open(reader, provider, upcoming.generation, opened), index, bases)


def _former_parts(reader: Reader, taken: Snapshot) -> Mapping[date, Partition]:
    try:
        return reader.partitions(taken)
    except NotStoredError:  # deleted, as everything that a fold makes may be
        return {}


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
