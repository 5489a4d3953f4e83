"""Typed columns from JSON that drifts: no row is lost, no value is changed silently."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.executions.decode import decode
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


def test_unknown_fields_and_words_are_kept() -> None:
    """What this version does not know goes to ``_extra``; new words of an enum stay words."""
    (found,) = decode(SPEC, [row(**GOOD | {"status": "hibernating", "colour": {"r": 1}})], DAY).to_pylist()
    assert found["status"] == "hibernating"
    assert json.loads(found["_extra"]) == {"colour": {"r": 1}}
    assert found["terminal"] is False


@settings(max_examples=150, deadline=None)
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
