"""Late facts: what a re-read may change in a row, and what it never takes away.

A newer read brings newer values. It never brings emptiness: a value that was there stays when the provider sends null, an empty
text, list or object, or nothing. A tombstone (the provider emptied the execution) only adds: every value that was known stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
            # Of two reads of the same moment, what is known already counts as the older: it may hold a tombstone's past.
            in_order = (before, row) if before.last_seen_at <= row.last_seen_at else (row, before)
            after = merge_row(spec, *in_order)
            if _same(split(after.raw), split(before.raw)):
                after = after._replace(raw=before.raw)
            elif row.execution_id in known:
                changed.add(row.execution_id)
            rows[row.execution_id] = after
        listed.add(row.execution_id)
    return Merged(rows, new, len(changed), len(known.keys() - listed))


def merge_row(spec: ProviderSpec, older: Row, newer: Row) -> Row:
    """Return one row with the facts of both. Where nothing new comes, the older row's text stays to the byte."""
    before, after = split(older.raw), split(newer.raw)
    fields = _fields(spec, before, after)
    return Row(
        execution_id=older.execution_id,
        created_at=older.created_at,
        raw=older.raw if _same(fields, before) else join(fields),
        first_seen_at=min(older.first_seen_at, newer.first_seen_at),
        last_seen_at=newer.last_seen_at,
    )


def _fields(spec: ProviderSpec, before: Fields, after: Fields) -> Fields:
    # Of two ways to say nothing, always the same one stays: otherwise reading again would be news for ever.
    silent = (before.keys() - _facts(before).keys()) & (after.keys() - _facts(after).keys())
    settled = {name: min(before[name], after[name], key=bytes) for name in silent}
    before, after = {**before, **settled}, {**after, **settled}
    if _emptied(spec, before) or _emptied(spec, after):
        return {**before, **after, **_facts(before)}
    fields = {**before, **{name: value for name, value in after.items() if name not in before}, **_facts(after)}
    for mark, guarded in spec.meaning_changes.items():
        # A row that has the mark gives these fields their new meaning; a read of the old generation must not bring the old one.
        if mark in _facts(before) and mark not in after:
            fields |= {name: value for name, value in _facts(before).items() if name in guarded}
    return fields


def _facts(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if bytes(value) not in _EMPTY}


def _emptied(spec: ProviderSpec, fields: Fields) -> bool:
    name = spec.tombstone_field
    return name is not None and name in fields and bytes(fields[name]) not in _EMPTY


def _same(one: Fields, other: Fields) -> bool:
    return one.keys() == other.keys() and all(bytes(one[name]) == bytes(other[name]) for name in one)
