"""What is computed for whole tables is what is said of single events."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.recordings.events import SCHEMA, to_table, winners
from assets.recordings.ledger.digests import digests_of, row_digest
from assets.recordings.ledger.winning import winners_of
from assets.recordings.lifecycle import State
from tests.recordings.test_ledger import COPY, NOW, event

TEXTS = st.text(max_size=8).map(lambda text: text.encode("utf-8", "ignore").decode())


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "execution_id": TEXTS,
                "seq": st.integers(-(2**63), 2**63 - 1),
                "date": st.dates(),
                "at": st.none() | st.datetimes().map(lambda moment: moment.replace(tzinfo=NOW.tzinfo)),
                "seconds": st.none() | st.floats(allow_nan=False),
                "detail": st.none() | TEXTS,
                "http_status": st.none() | st.integers(0, 599),
            }
        ),
        max_size=6,
    )
)
def test_a_digest_of_a_column_is_that_of_its_rows(made: list[dict[str, object]]) -> None:
    """However a file's rows are digested, one by one or all at once, the digests are the same."""
    schema = pa.schema([SCHEMA.field(name) for name in ("execution_id", "seq", "date", "at", "seconds", "detail", "http_status")])
    table = pa.Table.from_pylist(made, schema=schema)
    assert digests_of(table, few=0) == [row_digest(row) for row in table.to_pylist()]


LIVES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(list(State)),
        st.integers(1, 4),
        st.integers(0, 2),
        st.sampled_from([None, 1, 2]),
        st.integers(0, 3),
    ),
    max_size=14,
)


@settings(max_examples=150)
@given(LIVES, st.uuids())
def test_the_winner_of_a_table_is_the_winner_of_its_events(
    lives: list[tuple[str, State, int, int, int | None, int]], seed: UUID
) -> None:
    """The vectorised choice is what :attr:`Event.order` says, for every history."""
    events = []
    for place, (name, state, seq, epoch, number, seconds) in enumerate(lives):
        made = event(name, state, seq=seq, epoch=epoch)
        copy = replace(COPY, number=number) if number is not None else None
        events.append(replace(made, copy=copy, event_id=f"{seed}{place % 5}", at=NOW + timedelta(seconds=seconds)))
    expected = winners(events)
    found = winners_of([to_table(events[:5]), to_table(events[5:])])
    by_name = {
        row["execution_id"]: (row["state"], row["seq"], row["epoch"], row["number"], row["at"]) for row in found.to_pylist()
    }
    assert by_name == {
        key.execution_id: (each.life.state, each.seq, each.life.epoch, each.copy.number if each.copy else None, each.at)
        for key, each in expected.items()
    }
