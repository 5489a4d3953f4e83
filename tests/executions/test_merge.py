"""Late facts: a re-read never loses a row or a fact."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from assets.executions.intake import Row
from assets.executions.merge import merge, merge_row
from tests.executions.specimen import NOON, SPEC, row

VALUES = st.one_of(
    st.none(), st.just(""), st.just([]), st.just({}), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
)
READS = st.lists(
    st.dictionaries(st.sampled_from(["status", "count", "inputs", "new", "purgedAt"]), VALUES), min_size=1, max_size=6
)
EMPTY = (None, "", [], {})


def reads(objects: list[dict[str, object]]) -> list[Row]:
    """Return successive reads of one execution, an hour apart."""
    return [row(NOON + timedelta(hours=hour), **fields) for hour, fields in enumerate(objects)]


def facts(found: Row) -> dict[str, object]:
    """Return the fields of a row that say something."""
    return {name: value for name, value in json.loads(found.raw).items() if value not in EMPTY}


@given(READS)
def test_no_field_that_said_something_ever_says_nothing(objects: list[dict[str, object]]) -> None:
    """Whatever later reads bring, a field that had a value has one at the end."""
    known: dict[str, Row] = {}
    said: set[str] = set()
    for read in reads(objects):
        known = merge(SPEC, known, [read]).rows
        said |= facts(read).keys()
        assert said <= facts(known["a"]).keys()


@given(READS)
def test_the_same_read_twice_changes_nothing(objects: list[dict[str, object]]) -> None:
    """Reading again what was read is no news, and leaves the text as it is to the byte."""
    known: dict[str, Row] = {}
    for read in reads(objects):
        known = merge(SPEC, known, [read]).rows
        again = merge(SPEC, known, [read])
        assert (again.new, again.changed) == (0, 0)
        assert again.rows["a"].raw == known["a"].raw


@given(READS, READS)
def test_a_tombstone_erases_nothing(objects: list[dict[str, object]], more: list[dict[str, object]]) -> None:
    """Once the provider has emptied the row, every value that was known stays as it was, and the tombstone is kept."""
    for fields in objects:
        fields.pop("purgedAt", None)
    known: dict[str, Row] = {}
    for read in reads([*objects, {"purgedAt": "2026-11-21T00:00:00Z"}]):
        before = facts(known["a"]) if known else {}
        known = merge(SPEC, known, [read]).rows
    for hour, fields in enumerate(more):
        fields["purgedAt"] = "2026-12-01T00:00:00Z"
        known = merge(SPEC, known, [row(NOON + timedelta(days=1, hours=hour), **fields)]).rows
    after = facts(known["a"])
    assert {name: after[name] for name in before} == before
    assert after["purgedAt"] == "2026-11-21T00:00:00Z"


def test_newer_values_win() -> None:
    """A later read brings the later status."""
    first, second = reads([{"status": "running", "count": 1}, {"status": "done"}])
    assert facts(merge_row(SPEC, first, second)) == {"id": "a", "status": "done", "count": 1}


def test_an_old_generation_does_not_bring_old_meanings_back() -> None:
    """A field that changed its meaning keeps that of the newer generation."""
    newer, older = reads([{"version": "v7", "flow": "workflow"}, {"flow": "v7", "status": "done"}])
    assert facts(merge_row(SPEC, newer, older)) == {"id": "a", "version": "v7", "flow": "workflow", "status": "done"}


def test_rows_that_are_no_longer_listed_stay() -> None:
    """A provider that forgets an execution does not make the archive forget it."""
    known = merge(SPEC, {}, [row(execution_id="a"), row(execution_id="b")]).rows
    merged = merge(SPEC, known, [row(execution_id="b"), row(execution_id="c")])
    assert sorted(merged.rows) == ["a", "b", "c"]
    assert (merged.new, merged.changed, merged.kept) == (1, 0, 1)


def test_times_of_seeing() -> None:
    """The first time stays, the last one moves."""
    first, second = reads([{}, {"status": "done"}])
    found = merge_row(SPEC, first, second)
    assert (found.first_seen_at, found.last_seen_at) == (NOON, NOON + timedelta(hours=1))


def test_a_newer_generation_brings_its_meaning_even_with_a_tombstone() -> None:
    """The mark never comes without the field that it gives a new meaning to, so no id passes for another."""
    older, newer = reads([{"flow": "v7", "status": "done"}, {"version": "v7", "flow": "workflow", "purgedAt": "2026-11-21"}])
    found = facts(merge_row(SPEC, older, newer))
    assert (found["version"], found["flow"], found["status"]) == ("v7", "workflow", "done")
    bare = facts(merge_row(SPEC, older, row(NOON + timedelta(hours=1), version="v7")))
    assert (bare.get("version"), bare["flow"]) == (None, "v7")


def test_a_slow_run_does_not_bring_old_values_back() -> None:
    """A run that began before the one that has written already only fills in what that one did not have."""
    slow, fast = reads([{"status": "running", "note": "x"}, {"status": "done"}])
    merged = merge(SPEC, {"a": fast}, [slow])
    assert facts(merged.rows["a"]) == {"id": "a", "status": "done", "note": "x"}
    assert (merged.rows["a"].first_seen_at, merged.rows["a"].last_seen_at) == (NOON, NOON + timedelta(hours=1))


def test_a_stale_read_does_not_undo_a_purge() -> None:
    """A list that still shows the row as it was before the purge changes nothing, but may fill gaps."""
    first, purged, stale = reads(
        [
            {"status": "running", "purgedAt": None},
            {"status": "", "purgedAt": "2026-11-21T00:00:00Z"},
            {"status": "done", "count": 3, "purgedAt": None},
        ]
    )
    known = merge(SPEC, merge(SPEC, {"a": first}, [purged]).rows, [stale]).rows
    assert facts(known["a"]) == {"id": "a", "status": "running", "count": 3, "purgedAt": "2026-11-21T00:00:00Z"}


@given(st.permutations([row(execution_id=name, status=status) for name, status in zip("abcd", ["x", "y", "z", ""], strict=True)]))
def test_the_order_of_a_list_does_not_matter(rows: list[Row]) -> None:
    """However the provider sorts its pages, the partition is the same."""
    known = {"a": row(NOON - timedelta(hours=1), status="old"), "q": row(execution_id="q")}
    merged = merge(SPEC, known, rows)
    assert dict(sorted(merged.rows.items())) == dict(
        sorted(merge(SPEC, known, sorted(rows, key=lambda item: item.execution_id)).rows.items())
    )
    assert (merged.new, merged.changed, merged.kept) == (3, 1, 1)
