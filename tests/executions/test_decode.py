"""Typed columns from JSON that drifts: no row is lost, no value is changed silently."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.executions.decode import Decoder, decode
from assets.executions.intake import Row, strict
from assets.executions.schema import lake_schema
from resources.providers.registry import PROVIDERS
from tests.executions.specimen import DAY, NOON, SPEC, row

GOOD = {
    "status": "done",
    "createdAt": "2026-11-20T10:00:00.123456Z",
    "count": 3,
    "ratio": 1.5,
    "flag": True,
    "tags": ["x"],
    "who": {"name": "n", "age": 4},
    "inputs": {"any": ["thing", 1]},
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def test_a_clean_row_is_typed() -> None:
    """Every field lands in its column, nested ones as structs and lists, shapeless ones as JSON."""
    (found,) = decode(SPEC, [row(**GOOD)], DAY).to_pylist()
    assert (found["count"], found["ratio"], found["flag"], found["tags"], found["who"]) == (
        3,
        1.5,
        True,
        ["x"],
        {"name": "n", "age": 4},
    )
    assert json.loads(found["inputs"]) == {"any": ["thing", 1]}
    assert found["created"] == datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
    assert (found["_extra"], found["_bad"], found["terminal"], found["legs"]) == (None, None, True, ["main"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 1.5),
        ("count", "3"),
        ("count", 2**70),
        ("flag", "yes"),
        ("tags", "x"),
        ("who", []),
        ("createdAt", "yesterday"),
        ("who", {"age": 1.5}),
    ],
)
def test_a_value_that_does_not_fit_is_null_and_kept(field: str, value: object) -> None:
    """1.5 never becomes 2: the value goes to ``_bad``, the row and its neighbours stay."""
    rows = [row(execution_id=str(number), **GOOD) for number in range(40)]
    rows[17] = row(execution_id="17", **{**GOOD, field: value})
    table = decode(SPEC, rows, DAY)
    bad = [found for found in table.to_pylist() if found["_bad"] is not None]
    assert [found["execution_id"] for found in bad] == ["17"]
    assert json.loads(bad[0]["_bad"])[field] == value
    assert table.num_rows == 40
    assert table["count"].null_count == (field == "count")


@pytest.mark.parametrize(
    ("name", "value", "expected", "is_bad"),
    [
        ("id", 123, "123", True),
        ("id", True, "true", True),
        ("id", {"x": 1}, None, True),
        ("count", 3.0, 3, False),
        ("count", 1e300, None, True),
        ("ratio", 3, 3.0, False),
        ("createdAt", "2026-11-20T10:00:00.123456789Z", datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC), False),
        ("createdAt", "2026-11-20T12:00:00+02:00", datetime(2026, 11, 20, 10, tzinfo=UTC), False),
        ("createdAt", "2026-11-20 10:00:00", datetime(2026, 11, 20, 10, tzinfo=UTC), False),
        ("createdAt", 1795168800, datetime(2026, 11, 20, 10, tzinfo=UTC), False),
        ("createdAt", "0000-01-01T00:00:00Z", None, True),
        ("createdAt", "2026-13-01T00:00:00Z", None, True),
        ("createdAt", True, None, True),
    ],
)
def test_values_between_the_types(name: str, value: object, expected: object, *, is_bad: bool) -> None:
    """What means the same in the column's type is taken; what does not is never guessed."""
    column = "created" if name == "createdAt" else name
    column = "id" if name == "id" else column
    (found,) = decode(SPEC, [Row("x", NOON, json.dumps({name: value}), NOON, NOON)], DAY).to_pylist()
    assert found[column] == expected
    assert (found["_bad"] is not None) == is_bad


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([entry.name for entry in SPEC.fields]), JSON), min_size=2, max_size=4))
def test_a_row_reads_the_same_beside_any_other(objects: list[dict[str, object]]) -> None:
    """Alone or beside rows that fit nothing, a row has the same values: the fast path and the slow one agree."""
    rows = [Row(str(number), NOON, json.dumps(item), NOON, NOON) for number, item in enumerate(objects)]
    together = decode(SPEC, rows, DAY).to_pylist()
    assert together == [decode(SPEC, [item], DAY).to_pylist()[0] for item in rows]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([entry.name for entry in SPEC.fields]), JSON), min_size=2, max_size=5))
def test_what_one_block_taught_changes_no_value(objects: list[dict[str, object]]) -> None:
    """A decoder that has seen fields drift takes another way through later blocks, to the same values."""
    rows = [Row(str(number), NOON, json.dumps(item), NOON, NOON) for number, item in enumerate(objects)]
    expected = decode(SPEC, rows, DAY).to_pylist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("assets.executions.decode.BLOCK_BYTES", 1)
        patch.setattr("assets.executions.decode._FIRST_BLOCK_BYTES", 1)
        with Decoder(SPEC) as decoder:
            for _ in range(2):
                assert decoder.decode(rows, DAY).to_pylist() == expected


def test_white_space_between_and_inside_objects_is_no_matter() -> None:
    """JSON with line breaks in it, as a provider may send it, gives the same values as without."""
    raws = [json.dumps(GOOD | {"count": number}, indent=2) for number in range(3)]
    found = decode(SPEC, [Row(str(number), NOON, raw, NOON, NOON) for number, raw in enumerate(raws)], DAY)
    assert found["count"].to_pylist() == [0, 1, 2]
    assert found["_bad"].null_count == 3


@settings(max_examples=40, deadline=None)
@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.sampled_from(["Z", "", "+05:30", "-11:00"]))  # noqa: DTZ001
def test_a_good_time_is_the_same_beside_a_bad_one(moment: datetime, zone: str) -> None:
    """A time that the fast path takes does not change when a neighbour sends the column through the slow path."""
    good = Row("a", NOON, json.dumps({"createdAt": moment.isoformat() + zone}), NOON, NOON)
    bad = Row("b", NOON, '{"createdAt":"soon"}', NOON, NOON)
    (alone,) = decode(SPEC, [good], DAY)["created"].to_pylist()
    assert decode(SPEC, [good, bad], DAY)["created"].to_pylist() == [alone, None]
    assert alone == datetime.fromisoformat(moment.isoformat() + (zone or "Z"))


def test_rows_that_are_no_json_objects_are_marked() -> None:
    """NaN, repeated keys, lists and broken text each have their row, with what was sent in ``_raw`` and ``_bad``."""
    raws = [b'{"ratio":NaN,"count":2}', b'{"count":1,"count":2}', b"[1]", b"\xff\xfe", b'{"who":{"name":"\\ud800"},"count":4}']
    found = decode(SPEC, [Row(str(n), NOON, strict(raw).text, NOON, NOON) for n, raw in enumerate(raws)], DAY).to_pylist()
    assert [item["count"] for item in found] == [2, 2, None, None, 4]
    assert all(item["_bad"] is not None for item in found)
    assert json.loads(found[0]["_bad"]) == {"ratio": "NaN"}
    assert json.loads(found[1]["_raw"])["_repeated"] == {"count": [1]}
    assert json.loads(found[2]["_raw"]) == {"_unparsed": "[1]"}


def test_a_row_that_the_sql_refuses_stays() -> None:
    """When the common columns cannot be made of one row, the others have theirs, and the row says why."""
    spec = dataclasses.replace(SPEC, canonical_sql=SPEC.canonical_sql.replace("NULL::DOUBLE", "status::DOUBLE"))
    rows = [row(execution_id=str(number), status="7" if number != 3 else "soon") for number in range(6)]
    found = decode(spec, rows, DAY).to_pylist()
    assert [item["duration_seconds"] for item in found] == [7.0, 7.0, 7.0, None, 7.0, 7.0]
    assert [number for number, item in enumerate(found) if item["_bad"]] == [3]
    assert (found[3]["execution_id"], found[3]["status_as_sent"], found[3]["legs"]) == ("3", "soon", [])


def test_unknown_fields_and_words_are_kept() -> None:
    """What this version does not know goes to ``_extra``; new words of an enum stay words."""
    (found,) = decode(SPEC, [row(**GOOD | {"status": "hibernating", "colour": {"r": 1}})], DAY).to_pylist()
    assert found["status"] == "hibernating"
    assert json.loads(found["_extra"]) == {"colour": {"r": 1}}
    assert found["terminal"] is False


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([entry.name for entry in SPEC.fields] + ["zz"]), JSON), min_size=1, max_size=5))
def test_no_row_is_ever_lost(objects: list[dict[str, object]]) -> None:
    """Whatever JSON comes, each row comes out, in order, with its raw text, and by the schema."""
    rows = [Row(str(number), NOON, strict(json.dumps(item).encode()).text, NOON, NOON) for number, item in enumerate(objects)]
    table = decode(SPEC, rows, DAY)
    assert table.schema == lake_schema(SPEC)
    assert table["execution_id"].to_pylist() == [str(number) for number in range(len(objects))]
    for found, item in zip(table.to_pylist(), objects, strict=True):
        assert json.loads(found["_raw"]) == json.loads(json.dumps(item))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_bytes_come_in_strict_json_comes_out(raw: bytes) -> None:
    """Bytes that are no JSON object are kept inside one."""
    text = strict(raw).text
    assert isinstance(json.loads(text), dict)
    assert strict(text.encode()).text == text


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_each_providers_empty_object_has_a_row(name: str) -> None:
    """Even an object with nothing in it is a row of each real provider's schema, not terminal."""
    spec = PROVIDERS[name]
    table = decode(spec, [Row("x", NOON, "{}", NOON, NOON)], DAY)
    (found,) = table.to_pylist()
    assert (found["execution_id"], found["provider"], found["date"], found["created_at"]) == ("x", name, DAY, NOON)
    assert found["terminal"] in {True, False}
