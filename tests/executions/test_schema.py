"""The columns of the lake: common ones first, no two of one name, each with its comment."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest

from assets.executions.schema import COMMON, TRACE, column_docs, columns, fingerprint, lake_schema
from resources.providers.protocol import Field
from resources.providers.registry import PROVIDERS
from tests.executions.specimen import SPEC


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_each_provider_has_the_common_columns_and_its_own(name: str) -> None:
    """All providers begin and end alike, no two columns differ by case alone, and each has a comment."""
    spec = PROVIDERS[name]
    names = lake_schema(spec).names
    assert names[: len(COMMON)] == [column.name for column in COMMON]
    assert names[-len(TRACE) :] == [column.name for column in TRACE]
    assert len({column.lower() for column in names}) == len(names) == len(COMMON) + len(spec.fields) + len(TRACE)
    assert all(column_docs(spec)[column].strip() for column in names)


def test_a_field_named_like_a_common_column_is_kept_as_sent() -> None:
    """The provider's own status stands beside the common one, under a name of its own."""
    names = lake_schema(SPEC).names
    assert "status" in names
    assert "status_as_sent" in names
    assert "count" in names


@pytest.mark.parametrize(
    "clash",
    [
        (Field("x", "x", pa.string(), "x"), Field("y", "X", pa.string(), "x")),
        (Field("x", "status", pa.string(), "x"), Field("y", "status_as_sent", pa.string(), "x")),
        (Field("x", "_mine", pa.string(), "x"),),
        (Field("x", "x", pa.int64(), "x", json=True),),
    ],
)
def test_a_spec_that_would_clash_is_refused(clash: tuple[Field, ...]) -> None:
    """Two columns of one name, a name kept for the archive and a JSON field that is no text are faults of the spec."""
    with pytest.raises(ValueError, match="specimen"):
        columns(dataclasses.replace(SPEC, fields=clash))


def test_another_spec_has_another_fingerprint() -> None:
    """A changed type or SQL is noticed, so that old files are decoded again."""
    other = dataclasses.replace(SPEC, fields=(*SPEC.fields, Field("colour", "colour", pa.string(), "a colour")))
    assert fingerprint(other) != fingerprint(SPEC)
    assert fingerprint(dataclasses.replace(SPEC, canonical_sql="SELECT 1")) != fingerprint(SPEC)
