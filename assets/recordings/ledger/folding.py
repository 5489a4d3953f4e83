"""Folding the tail into the states, and compacting what was folded.

A *fold* reads the states of the days that have something new, makes their new ones, and records exactly which event files went
in. A *compaction* takes the event files that were folded into one sorted file a day. Both go a day at a time and write new files
beside the old ones; a snapshot then names the new ones, in one step. The old ones leave after a grace period.

A process that dies before its snapshot has changed nothing; what it wrote is swept by a later compaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import msgspec
import pyarrow as pa

from assets.recordings import names
from assets.recordings.events import SCHEMA
from assets.recordings.ledger import history, ids, places, snapshot, winning
from assets.recordings.ledger.chain import EventFile, read_event_file
from assets.recordings.ledger.files import to_bytes
from assets.recordings.ledger.history import History
from assets.recordings.ledger.reading import Reader, by_day
from assets.recordings.ledger.snapshot import Leaving, Partition, Snapshot
from assets.recordings.ledger.standing import Standing
from assets.recordings.ledger.waiting import Waiting
from assets.recordings.lifecycle import OPEN_STATES
from resources.arrow import compute as pc
from resources.errors import NotStoredError, StorageError
from resources.failpoints import Failpoint, reached

_TRIES = 5
_DAYS_AT_ONCE = 64
"""How many days one snapshot goes further: what a kill can undo."""


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What a fold did: files that were folded now and their days, recordings in the state, and how many of them are open."""

    provider: str
    new_files: int
    days: tuple[date, ...]
    recordings: int
    open_recordings: int


@dataclass(slots=True)
class PackReport:
    """What a compaction of events did.

    Attributes:
        days: whose events were compacted now.
        files: event files that went in.
        rows: in the files that were written.
        left: path and words of files that were left as they are, because they are not what a writer wrote.
    """

    days: list[date] = field(default_factory=list[date])
    files: int = 0
    rows: int = 0
    left: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


@dataclass(frozen=True, slots=True)
class _Opened:
    """The open recordings as they are published: their file, and what they wait for."""

    path: str
    waiting: Waiting | None


@dataclass(slots=True)
class _Next:
    """A snapshot in the making: what changes in comparison with ``taken``. ``number`` is one that it has to be beyond."""

    reader: Reader
    provider: str
    taken: Snapshot
    parts: dict[date, Partition]
    folded: set[str]
    leaving: set[str] = field(default_factory=set[str])
    number: int = 0

    @classmethod
    def after(cls, reader: Reader, provider: str, taken: Snapshot) -> _Next:
        return cls(reader, provider, taken, dict(reader.partitions(taken)), set(taken.folded))

    @property
    def generation(self) -> int:
        return max(self.taken.generation, self.number) + 1

    def set_state(self, day: date, state: pa.Table, folded: Iterable[str]) -> None:
        """Store the state of a day, which ``folded`` went into beside what its history has."""
        path = places.new_state_path(self.provider, day, self.generation)
        self.reader.storage.create(path, to_bytes(state))
        before = self.parts.get(day)
        if before is not None:
            self.leaving.add(before.state)
        counted = Standing.of(state)
        kept = (before.history, before.events) if before is not None else (None, 0)
        self.parts[day] = Partition(
            day, path, counted.recordings, counted.states, counted.bytes, counted.flaws, *kept, tuple(sorted(folded))
        )

    def publish(self, opened: _Opened, index: Sequence[ids.Segment], bases: Iterable[str]) -> bool:
        """Store the list of days, and make the snapshot the current one; say whether it is."""
        open_recordings = opened.path
        storage, taken = self.reader.storage, self.taken
        days = f"{places.new_stem(self.provider, self.generation)}.days.json"
        storage.create(days, snapshot.encode_partitions(self.parts.values()))
        now = storage.info(days).modified
        named = {days, open_recordings, *(segment.path for segment in index)}
        former = {taken.days, taken.open, *(segment.path for segment in taken.ids), *self.leaving} - named - {""}
        known = {each.path for each in taken.leaving}
        left = (Leaving(path, self.generation, now) for path in sorted(former - known))
        made = Snapshot(
            self.generation,
            days,
            open_recordings,
            tuple(index),
            tuple(sorted(bases)),
            tuple(sorted(self.folded)),
            (*taken.leaving, *left),
            opened.waiting,
        )
        return snapshot.publish(storage, self.provider, made)


# -- folding


def fold(reader: Reader, provider: str) -> FoldReport:
    """Fold the tail into the states. Safe beside any number of writers and readers, and beside another fold.

    Raises:
        StorageError: an event file is damaged, or the root failed; days that were folded before stay so.
    """
    if reader.latest(provider) is None and reader.filed(provider):
        return refold(reader, provider)
    files, days, tries = 0, set[date](), 0
    while tries < _TRIES:
        taken = reader.latest(provider) or Snapshot()
        tail = by_day(reader.tail(provider, taken if taken.generation else None))
        if not tail:
            break
        some = {day: tail[day] for day in sorted(tail)[:_DAYS_AT_ONCE]}
        if _fold_days(reader, provider, taken, some):
            files += sum(map(len, some.values()))
            days |= some.keys()
            tries = 0
        else:
            tries += 1  # another fold was faster: what it left is looked at again
    return _report(reader, provider, files, days)


def _fold_days(reader: Reader, provider: str, taken: Snapshot, tail: Mapping[date, Sequence[str]]) -> bool:
    upcoming = _Next.after(reader, provider, taken)
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
    for _ in range(_TRIES):
        before = reader.latest(provider)
        taken = before or Snapshot()
        files = by_day([*reader.filed(provider), *reader.appended(provider)])
        if _refold_days(reader, provider, taken, files, frozenset(forget)):
            return _report(reader, provider, sum(map(len, files.values())), set(files))
    msg = f"the state of {provider} was folded by others {_TRIES} times meanwhile: run again"
    raise StorageError(msg)


def _refold_days(
    reader: Reader, provider: str, taken: Snapshot, files: Mapping[date, Sequence[str]], forget: frozenset[str]
) -> bool:
    former = _former_parts(reader, taken)
    # Also beyond those of snapshots that were deleted: of two files of compacted events the greater number is the newer.
    number = max((places.generation_of_history(path) for paths in files.values() for path in paths), default=0)
    upcoming = _Next(reader, provider, taken, {}, set(), number=number)
    upcoming.leaving |= {part.state for part in former.values()}
    reader.settle(path for paths in files.values() for path in paths)
    opened, bases, index = list[pa.Table](), set[str](), tuple[ids.Segment, ...]()
    for day in sorted(files.keys() | former.keys()):  # a day at a time: all events at once would not fit into memory
        table = reader.table(files.get(day, ()))
        state = winning.winners_of([table])
        compacted = _one_history(upcoming, day, files.get(day, ()))
        raw = {path for path in files.get(day, ()) if not places.is_history(path)}
        gone = {path for path in _named(former.get(day)) if path not in files.get(day, ())} - forget
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


def _named(part: Partition | None) -> set[str]:
    """Return the files of events that a state was made of, as far as the list of days says it."""
    if part is None:
        return set()
    return {*part.folded, *((part.history,) if part.history is not None else ())}


# -- compaction


@dataclass(frozen=True, slots=True)
class _Compacted:
    """The compacted events of a day: their file, its rows, the event files in it, and those that were left outside, with why."""

    path: str | None = None
    rows: int = 0
    packed: frozenset[str] = frozenset()
    left: tuple[tuple[str, str], ...] = ()


def pack(reader: Reader, provider: str) -> PackReport:
    """Compact the event files that were folded, a day at a time. Safe beside writers, readers and folds.

    A file that is not what its writer wrote stays as it is, for a person to look at.

    Raises:
        StorageError: the root failed; days that were compacted before stay so.
    """
    report, tries, done = PackReport(), 0, set[date]()
    while tries < _TRIES:
        taken = reader.latest(provider)
        waiting = [day for day, part in sorted(reader.partitions(taken).items()) if part.folded and day not in done]
        if taken is None or not waiting:
            break
        days = waiting[:_DAYS_AT_ONCE]
        upcoming = _Next.after(reader, provider, taken)
        compacted = {day: _pack_day(upcoming, day) for day in days}
        new = {day: each for day, each in compacted.items() if each.path is not None}
        if new and not upcoming.publish(_Opened(taken.open, taken.waiting), taken.ids, taken.bases):
            tries += 1  # a fold was faster
            continue
        tries = 0
        done |= set(days)
        report.left += [left for each in compacted.values() for left in each.left]
        report.days += new
        report.files += sum(len(each.packed) for each in new.values())
        report.rows += sum(each.rows for each in new.values())
    return report


def _pack_day(upcoming: _Next, day: date) -> _Compacted:
    """Store the compacted events of a day with what has been folded since; ``path`` is None where nothing new comes in."""
    part, storage = upcoming.parts[day], upcoming.reader.storage
    former: list[History] = []
    if part.history is not None:
        former.append(history.read_history(part.history, storage.read(part.history)))
        if not former[0].is_own:
            return _Compacted(left=tuple((part.history, words) for words in former[0].faults))
    made = _packed(upcoming, day, former, part.folded)
    if made.path is not None:
        kept = tuple(path for path in part.folded if path not in made.packed)
        upcoming.parts[day] = msgspec.structs.replace(part, history=made.path, events=made.rows, folded=kept)
        upcoming.leaving |= {*made.packed, *((part.history,) if part.history is not None else ())}
        reached(Failpoint.COMPACTION_WRITTEN)
    return made


def _packed(upcoming: _Next, day: date, former: Sequence[History], paths: Iterable[str]) -> _Compacted:
    """Store one file of compacted events of those of ``former`` and of the event files at ``paths`` that are good."""
    storage, left, good = upcoming.reader.storage, list[tuple[str, str]](), list[EventFile]()
    for path in paths:
        try:
            file = read_event_file(path, storage.read(path))
        except NotStoredError:
            left.append((path, "it is gone"))
            continue
        if file.is_own and file.table is not None and set(file.table.column_names) <= set(SCHEMA.names):
            good.append(file)
        else:
            left.append((path, "it is not what a writer of this version wrote"))
    if not good and len(former) < 2:  # noqa: PLR2004 -- one alone needs no merging
        return _Compacted(left=tuple(left))
    made = places.new_history_path(upcoming.provider, day, upcoming.generation)
    data, rows = history.encode(made, former, good)
    storage.create(made, data)
    return _Compacted(made, rows, frozenset(file.path for file in good), tuple(left))


def _one_history(upcoming: _Next, day: date, paths: Sequence[str]) -> _Compacted:
    """Return the file of compacted events that a day has, or one that is made of those that it has.

    A process that died may have left one that no snapshot names, and older versions left their event files beside them.

    Raises:
        StorageError: there are several, and one of them was changed.
    """
    storage = upcoming.reader.storage
    found = [history.read_history(path, storage.read(path)) for path in paths if places.is_history(path)]
    filed = [path for path in paths if not places.is_history(path) and path.startswith(f"{names.EVENTS}/")]
    if len(found) == 1 and not filed:
        rows = found[0].table.num_rows if found[0].table is not None else 0
        return _Compacted(found[0].path, rows, frozenset(found[0].said))
    for each in found:
        if not each.is_own:
            msg = f"{each.path} in {storage.url}: {each.faults[0]}: restore it from a copy, or move it away and run again"
            raise StorageError(msg)
    known = {name for each in found for name in each.said}
    made = _packed(upcoming, day, found, [path for path in filed if path not in known])
    if made.path is not None:
        upcoming.leaving |= {*(each.path for each in found), *(path for path in filed if path in made.packed | known)}
    elif found:
        made = _Compacted(found[0].path, found[0].table.num_rows if found[0].table is not None else 0, left=made.left)
    return _Compacted(made.path, made.rows, made.packed | known, made.left)


# -- leaving


def retire(
    reader: Reader,
    provider: str,
    *,
    grace: timedelta,
    shown: int | None,
    before_delete: Callable[[Collection[str]], None],
) -> int:
    """Remove the files that were replaced more than ``grace`` ago, and what died processes left; return how many.

    Args:
        reader: of the archive.
        provider: whose.
        grace: for how long readers may still be on a file.
        shown: the generation that the published catalog shows, whose files stay; None where there is none.
        before_delete: is told of the files of events among them, so that the manifests no longer ask for them.

    Raises:
        StorageError: the root failed; what is left goes the next time.
    """
    taken = reader.latest(provider)
    if taken is None:
        return 0
    now = _storage_time(reader, provider)
    needed = _referenced(reader, taken)
    due = [each.path for each in taken.leaving if now - each.since >= grace and (shown is None or each.generation <= shown)]
    going = [path for path in due if path not in needed]
    strays = _strays(reader, provider, taken, needed, now - grace)
    if not going and not strays:
        return 0
    before_delete([path for path in going if places.is_events(path)])
    for path in going:
        reader.storage.delete(path)
    reached(Failpoint.RETIRED)
    gone = set(going)
    after = msgspec.structs.replace(
        taken,
        generation=taken.generation + 1,
        folded=tuple(path for path in taken.folded if path not in gone),
        leaving=tuple(each for each in taken.leaving if each.path not in gone),
    )
    # The strays last: from here on no slow process can publish a snapshot that names one of them.
    if not snapshot.publish(reader.storage, provider, after):
        return len(going)
    for path in strays:
        reader.storage.delete(path)
    return len(going) + len(strays)


def _storage_time(reader: Reader, provider: str) -> datetime:
    """Return what time it is by the storage's own clock."""
    path = f"{places.ledger_folder(provider)}/clock"
    reader.storage.write(path, b"")
    return reader.storage.info(path).modified


def _referenced(reader: Reader, taken: Snapshot) -> set[str]:
    parts = reader.partitions(taken).values()
    found = {taken.days, taken.open, *(segment.path for segment in taken.ids), *(part.state for part in parts)}
    return found.union(*map(_named, parts))


def _strays(reader: Reader, provider: str, taken: Snapshot, needed: Collection[str], before: datetime) -> list[str]:
    """Return old files that no snapshot names: their processes died. Events are among them only where others hold them too."""
    known = {*needed, *(each.path for each in taken.leaving)}
    trees = (f"{names.STATES}/provider={provider}", places.ledger_folder(provider), f"{names.EVENTS}/provider={provider}")
    old = [
        info.path
        for tree in trees
        for info in reader.storage.list(tree)
        if info.path not in known and info.modified <= before and (places.is_derived(info.path) or places.is_history(info.path))
    ]
    return [path for path in old if places.is_derived(path) or _is_held_elsewhere(reader, taken, path)]


def _is_held_elsewhere(reader: Reader, taken: Snapshot, path: str) -> bool:
    """Whether every event file in a file of compacted events is also in the day's current one, or still lies there itself."""
    part = reader.partitions(taken).get(places.day_of(path))
    stray = history.read_history(path, reader.storage.read(path))
    held: set[str] = set()
    if part is not None and part.history is not None:
        held |= history.read_history(part.history, reader.storage.read(part.history)).said.keys()
    return stray.is_own and all(name in held or reader.storage.exists(name) for name in stray.said)


# -- parts


def _report(reader: Reader, provider: str, files: int, days: Iterable[date]) -> FoldReport:
    parts = reader.partitions(reader.latest(provider)).values()
    opened = sum(part.states.get(state.value, 0) for part in parts for state in OPEN_STATES)
    return FoldReport(provider, files, tuple(sorted(days)), sum(part.recordings for part in parts), opened)


def _put_open(reader: Reader, provider: str, generation: int, tables: Sequence[pa.Table]) -> _Opened:
    path = f"{places.new_stem(provider, generation)}.open.parquet"
    table = pa.concat_tables([winning.empty(), *tables])
    reader.storage.create(
        path,
        to_bytes(
            table.sort_by(
                [("next_attempt_at", "ascending"), ("date", "ascending"), ("execution_id", "ascending"), ("leg", "ascending")]
            )
        ),
    )
    return _Opened(path, Waiting.of(table))


def _new_pairs(state: pa.Table, former: pa.Table) -> pa.Table:
    """Return the ids and days of the executions that a day's state has and its former one had not."""
    new = state.filter(pc.invert(pc.is_in(state["execution_id"], value_set=former["execution_id"].combine_chunks())))
    return new.select(ids.PAIRS.names).group_by(ids.PAIRS.names).aggregate([]).cast(ids.PAIRS)


def _bases_of(table: pa.Table) -> set[str]:
    return {base for base in table["proved_base"].unique().to_pylist() if base is not None}
