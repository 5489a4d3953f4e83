"""Compacting the event files that were folded: one sorted file a day, which proves as much as they did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import msgspec

from assets.recordings import names
from assets.recordings.events import SCHEMA
from assets.recordings.ledger import history, places
from assets.recordings.ledger.chain import EventFile, read_event_file
from assets.recordings.ledger.history import History
from assets.recordings.ledger.reading import Reader
from assets.recordings.ledger.upcoming import DAYS_AT_ONCE, TRIES, Next, Opened
from resources.errors import NotStoredError, StorageError
from resources.failpoints import Failpoint, reached


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
class Compacted:
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
    while tries < TRIES:
        taken = reader.latest(provider)
        waiting = [day for day, part in sorted(reader.partitions(taken).items()) if part.folded and day not in done]
        if taken is None or not waiting:
            break
        days = waiting[:DAYS_AT_ONCE]
        upcoming = Next.after(reader, provider, taken)
        compacted = {day: _pack_day(upcoming, day) for day in days}
        new = {day: each for day, each in compacted.items() if each.path is not None}
        if new and not upcoming.publish(Opened(taken.open, taken.waiting), taken.ids, taken.bases):
            tries += 1  # a fold was faster
            continue
        tries = 0
        done |= set(days)
        report.left += [left for each in compacted.values() for left in each.left]
        report.days += new
        report.files += sum(len(each.packed) for each in new.values())
        report.rows += sum(each.rows for each in new.values())
    return report


def _pack_day(upcoming: Next, day: date) -> Compacted:
    """Store the compacted events of a day with what has been folded since; ``path`` is None where nothing new comes in."""
    part, storage = upcoming.parts[day], upcoming.reader.storage
    former: list[History] = []
    if part.history is not None:
        former.append(history.read_history(part.history, storage.read(part.history)))
        if not former[0].is_own:
            return Compacted(left=tuple((part.history, words) for words in former[0].faults))
    made = _packed(upcoming, day, former, part.folded)
    if made.path is not None:
        kept = tuple(path for path in part.folded if path not in made.packed)
        upcoming.parts[day] = msgspec.structs.replace(part, history=made.path, events=made.rows, folded=kept)
        upcoming.leaving |= {*made.packed, *((part.history,) if part.history is not None else ())}
        reached(Failpoint.COMPACTION_WRITTEN)
    return made


def _packed(upcoming: Next, day: date, former: Sequence[History], paths: Iterable[str]) -> Compacted:
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
        return Compacted(left=tuple(left))
    made = places.new_history_path(upcoming.provider, day, upcoming.generation)
    data, rows = history.encode(made, former, good)
    storage.create(made, data)
    return Compacted(made, rows, frozenset(file.path for file in good), tuple(left))


def one_history(upcoming: Next, day: date, paths: Sequence[str]) -> Compacted:
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
        return Compacted(found[0].path, rows, frozenset(found[0].said))
    for each in found:
        if not each.is_own:
            msg = f"{each.path} in {storage.url}: {each.faults[0]}: restore it from a copy, or move it away and run again"
            raise StorageError(msg)
    known = {name for each in found for name in each.said}
    made = _packed(upcoming, day, found, [path for path in filed if path not in known])
    if made.path is not None:
        upcoming.leaving |= {*(each.path for each in found), *(path for path in filed if path in made.packed | known)}
    elif found:
        made = Compacted(found[0].path, found[0].table.num_rows if found[0].table is not None else 0, left=made.left)
    return Compacted(made.path, made.rows, made.packed | known, made.left)
