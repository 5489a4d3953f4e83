"""Late facts: what a re-read may change in a row, and what it never takes away.

A newer read brings newer values. It never brings emptiness: a value that was there stays when the provider sends null, an empty
text, list or object, or nothing. A tombstone (the provider emptied the execution) only adds: every value that was known stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from assets.executions.intake import Fields, Row, join, split
from resources.providers.protocol import ProviderSpec

_EMPTY = frozenset({b"null", b'""', b"[]", b"{}"})


@dataclass(frozen=True, slots=True)
class Merged:
    """The rows of a partition after a read, and what the read did.

    Attributes:
        rows: all rows, by execution id.
        new: ids that were not known.
        changed: known rows with a new fact.
        kept: known rows that this read did not list.
    """

    rows: dict[str, Row]
    new: int
    changed: int
    kept: int


def merge(spec: ProviderSpec, known: Mapping[str, Row], read: Iterable[Row]) -> Merged:
    """Return the partition after ``read``. Reading the same again changes nothing."""
    rows = dict(known)
    listed: set[str] = set()
    new = 0
    changed: set[str] = set()
    for row in read:
        before = rows.get(row.execution_id)
        if before is None:
            new += 1
            rows[row.execution_id] = row
        else:
            rows[row.execution_id] = after = _again(spec, before, row)
            if after.raw != before.raw and row.execution_id in known:
                changed.add(row.execution_id)
        listed.add(row.execution_id)
    return Merged(rows, new, len(changed), len(known.keys() - listed))


def _again(spec: ProviderSpec, before: Row, row: Row) -> Row:
    """Return a known row after another read of it; its text stays to the byte where the read brings no fact."""
    # Of two reads of the same moment, what is known already counts as the older: it may hold a tombstone's past.
    in_order = before.last_seen_at <= row.last_seen_at
    if before.raw == row.raw:
        after = _joined(before, row, before.raw) if in_order else _joined(row, before, before.raw)
    else:
        after = merge_row(spec, before, row) if in_order else merge_row(spec, row, before)
        if not in_order and _same(split(after.raw), split(before.raw)):
            after = replace(after, raw=before.raw)
    # The day of creation is the partition, and the earliest reading of it is what every other column was filed under.
    return after if after.created_at == before.created_at else replace(after, created_at=before.created_at)


def merge_row(spec: ProviderSpec, older: Row, newer: Row) -> Row:
    """Return one row with the facts of both. Where nothing new comes, the older row's text stays to the byte."""
    before, after = split(older.raw), split(newer.raw)
    fields = _fields(spec, before, after)
    return _joined(older, newer, older.raw if _same(fields, before) else join(fields))


def _joined(older: Row, newer: Row, raw: str) -> Row:
    first_seen_at = min(older.first_seen_at, newer.first_seen_at)
    return Row(older.execution_id, older.created_at, raw, first_seen_at, newer.last_seen_at)


def _fields(spec: ProviderSpec, before: Fields, after: Fields) -> Fields:
    # Of two ways to say nothing, always the same one stays: otherwise reading again would be news for ever.
    silent = (before.keys() - _facts(before).keys()) & (after.keys() - _facts(after).keys())
    settled = {name: min(before[name], after[name], key=bytes) for name in silent}
    before, after = {**before, **settled}, {**after, **settled}
    for mark, guarded in spec.meaning_changes.items():
        before, after = _of_one_generation(before, after, mark, guarded)
    if _emptied(spec, before) or _emptied(spec, after):
        return {**before, **after, **_facts(before)}
    return {**before, **{name: value for name, value in after.items() if name not in before}, **_facts(after)}


def _of_one_generation(before: Fields, after: Fields, mark: str, guarded: tuple[str, ...]) -> tuple[Fields, Fields]:
    """Return both reads without the values that would say something false beside those of the other generation.

    A row that has the mark gives the guarded fields their new meaning. So the mark and the guarded fields come from one read: the
    newer generation's, whichever read came first, unless it would leave a guarded field with its old value under the mark.
    """
    was_new, is_new = mark in _facts(before), mark in _facts(after)
    if was_new == is_new:
        return before, after
    if was_new:
        return before, _without(after, guarded)
    if all(name in _facts(after) for name in guarded if name in _facts(before)):
        return _without(before, guarded), after
    return before, _without(after, (mark, *guarded))


def _without(fields: Fields, names: tuple[str, ...]) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


def _facts(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if bytes(value) not in _EMPTY}


def _emptied(spec: ProviderSpec, fields: Fields) -> bool:
    name = spec.tombstone_field
    return name is not None and name in fields and bytes(fields[name]) not in _EMPTY


def _same(one: Fields, other: Fields) -> bool:
    return one.keys() == other.keys() and all(bytes(one[name]) == bytes(other[name]) for name in one)
