"""Which events win, for whole tables: what :attr:`Event.order` says of one recording, said of a million at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pyarrow as pa

from assets.recordings.events import SCHEMA
from assets.recordings.lifecycle import OPEN_STATES, TERMINAL_STATES, State
from resources.arrow import compute as pc

_KEY = ["execution_id", "leg"]
_ORDER = ["archived", "copies", "epoch", "terminal", "seq", "at", "event_id"]
ORDER_COLUMNS = ("date", *_KEY, "state", "bytes", "number", "epoch", "seq", "at", "event_id")
"""The columns that decide."""
_TERMINAL = pa.array(sorted(state.value for state in TERMINAL_STATES))
_OPEN = pa.array(sorted(state.value for state in OPEN_STATES))


def winners_of(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the winning event of each recording of each day among the rows of ``tables``, sorted by day, id and leg.

    Args:
        tables: of the same columns, :data:`ORDER_COLUMNS` among them.
    """
    table = pa.concat_tables(tables)
    if table.num_rows == 0:
        return table
    ranked = _ranked(table)
    keys = ["date", *_KEY]
    order = pc.sort_indices(ranked, sort_keys=[(name, "ascending") for name in (*keys, *_ORDER)])
    ordered = ranked.select(keys).take(order)
    ends = pa.chunked_array([pa.array([True])])  # the last row of each recording wins
    if table.num_rows > 1:
        before, after = ordered.slice(0, table.num_rows - 1), ordered.slice(1)
        differs = [pc.not_equal(before[name], after[name]) for name in keys]
        ends = pa.chunked_array([*functools.reduce(pc.or_, differs).chunks, *ends.chunks])
    return table.take(order.filter(ends))


def _ranked(table: pa.Table) -> pa.Table:
    """Return the keys of the rows, and what the order goes by."""
    has_copy = pc.is_valid(table["bytes"])  # a copy has a length; its path would take longer to read
    ranked = table.select(["date", *_KEY, "epoch", "seq", "at", "event_id"])
    ranked = ranked.append_column("archived", pc.equal(table["state"], State.ARCHIVED.value))
    # Files from before copies were counted have none of it: theirs is the first.
    ranked = ranked.append_column("copies", pc.if_else(has_copy, pc.fill_null(table["number"], 1), 0))
    return ranked.append_column("terminal", pc.is_in(table["state"], value_set=_TERMINAL))


def open_part(state: pa.Table) -> pa.Table:
    """Return the rows of recordings that have not ended."""
    return state.filter(pc.is_in(state["state"], value_set=_OPEN))


def empty() -> pa.Table:
    """Return a table without events."""
    return SCHEMA.empty_table()
