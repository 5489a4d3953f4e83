"""The providers' descriptions: their columns, and the SQL of the common columns on small tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import duckdb
import pyarrow as pa
import pytest

from assets.executions.schema import columns as lake_columns
from assets.executions.schema import length_columns
from resources.model import Leg
from resources.providers import asteroid, feather, kataven
from resources.providers.protocol import Bound, ExpectedLength, ProviderSpec
from resources.providers.registry import PROVIDERS

CANONICAL = {
    "execution_id": "VARCHAR",
    "created_at": "TIMESTAMP WITH TIME ZONE",
    "started_at": "TIMESTAMP WITH TIME ZONE",
    "ended_at": "TIMESTAMP WITH TIME ZONE",
    "status": "VARCHAR",
    "terminal": "BOOLEAN",
    "purged_at": "TIMESTAMP WITH TIME ZONE",
    "legs": "VARCHAR[]",
    "agent_id": "VARCHAR",
    "agent_name": "VARCHAR",
    "workflow_id": "VARCHAR",
    "workflow_version_id": "VARCHAR",
    "workflow_name": "VARCHAR",
    "duration_seconds": "DOUBLE",
}
T1 = "2026-11-20 10:00:00+00"
T2 = "2026-11-20 10:01:30+00"


@pytest.fixture(params=PROVIDERS.values(), ids=PROVIDERS.keys())
def spec(request: pytest.FixtureRequest) -> ProviderSpec:
    """Each provider's description in turn."""
    return request.param


def canonical(spec: ProviderSpec, *rows: Mapping[str, str | None]) -> list[dict[str, object]]:
    """Return the common columns of rows whose missing columns are null."""
    parsed = pa.table(
        {field.column: pa.nulls(len(rows), field.type) for field in spec.fields} | {"_raw": pa.nulls(len(rows), pa.string())}
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("empty", parsed)
        connection.execute("CREATE TABLE parsed AS SELECT * FROM empty LIMIT 0")
        for row in rows:
            names = ", ".join(row) or "_raw"
            marks = ", ".join("?" for _ in row) or "NULL"
            connection.execute(f"INSERT INTO parsed ({names}) VALUES ({marks})", list(row.values()))  # noqa: S608 - the test's own names
        result = connection.execute(f"SELECT * FROM ({spec.canonical_sql})")  # noqa: S608 - the text under test
        columns = [column[0] for column in result.description or ()]
        return [dict(zip(columns, values, strict=True)) for values in result.fetchall()]


def one(spec: ProviderSpec, **row: str | None) -> dict[str, object]:
    """Return the common columns of one row."""
    (result,) = canonical(spec, row)
    return result


def test_canonical_columns_and_types(spec: ProviderSpec) -> None:
    """Every provider gives the same columns in the same order and of the same types."""
    parsed = pa.table({field.column: pa.nulls(0, field.type) for field in spec.fields} | {"_raw": pa.nulls(0, pa.string())})
    with duckdb.connect() as connection:
        connection.register("parsed", parsed)
        described = connection.execute(f"DESCRIBE SELECT * FROM ({spec.canonical_sql})").fetchall()  # noqa: S608 - under test
    assert {name: kind for name, kind, *_ in described} == CANONICAL
    assert [name for name, *_ in described] == list(CANONICAL)


def test_row_of_nulls_is_no_fault(spec: ProviderSpec) -> None:
    """A row whose every field was nulled still has a truth for ``terminal`` and a leg."""
    row = one(spec)
    assert row["terminal"] in (True, False)
    assert row["legs"] == ["main"]


def test_columns_are_named_once_and_described(spec: ProviderSpec) -> None:
    """Columns are unique in lower case, none takes a name that the lake needs, each has a comment."""
    columns = [field.column for field in spec.fields]
    assert len(set(columns)) == len(columns)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", column) for column in columns)
    assert not {"provider", "date"} & set(columns)
    assert all(field.doc.endswith(".") for field in spec.fields)
    assert all(field.type == pa.string() for field in spec.fields if field.json)
    assert spec.tombstone_field is None or spec.tombstone_field in {field.name for field in spec.fields}


def test_expected_lengths_are_numbers_of_the_spec(spec: ProviderSpec) -> None:
    """Where the provider says how long a recording plays, it says so in a column that the lake has, as a number."""
    columns = {column.name: column.type for column in lake_columns(spec)}
    assert length_columns(spec)
    assert all(columns[name] == pa.float64() for name in length_columns(spec).values())
    assert Leg.SUPERVISOR not in spec.expected_lengths


def test_a_length_that_no_field_holds_is_refused() -> None:
    """A slip in a provider's module is found when it is loaded, and named."""
    for name in ("calDuration", "transcript"):
        wrong = replace(feather.SPEC, expected_lengths={Leg.MAIN: ExpectedLength(name, Bound.EQUAL)})
        with pytest.raises(ValueError, match=name):
            lake_columns(wrong)


def test_every_timestamp_is_utc_microseconds(spec: ProviderSpec) -> None:
    """Times are stored in one type."""
    for field in spec.fields:
        if pa.types.is_timestamp(field.type):
            assert field.type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize(("module", "active"), [(asteroid, asteroid.ACTIVE_STATUSES), (feather, feather.ACTIVE_STATUSES)])
def test_sql_and_client_know_the_same_statuses(module: object, active: frozenset[str]) -> None:
    """A word that ends an execution in the client ends it in the SQL, in either case of letters, and no other word does."""
    spec = module.SPEC  # type: ignore[attr-defined]
    for status in module.TERMINAL_STATUSES:  # type: ignore[attr-defined]
        for spelled in (status, status.upper()):
            row = one(spec, status=spelled)
            assert (row["terminal"], row["status"]) == (True, status)
    end = "terminal_at" if module is asteroid else "call_ended_at"
    for status in active:
        assert one(spec, status=status, **{end: T1})["terminal"] is False
    assert one(spec, status="a_new_word")["terminal"] is False


def test_asteroids_documented_generation() -> None:
    """Without workflowVersionId, workflowId is the version and agentId the workflow."""
    row = one(
        asteroid.SPEC,
        id="e1",
        created_at=T1,
        terminal_at=T2,
        status="completed",
        agent_id="w",
        agent_name="Buyer",
        workflow_id="v",
        duration="90",
    )
    assert (row["agent_id"], row["workflow_id"], row["workflow_version_id"]) == ("w", "w", "v")
    assert (row["agent_name"], row["workflow_name"], row["duration_seconds"]) == ("Buyer", "Buyer", 90.0)
    assert (row["execution_id"], str(row["ended_at"]), row["started_at"]) == ("e1", "2026-11-20 10:01:30+00:00", None)


def test_asteroids_later_generation() -> None:
    """With workflowVersionId, workflowId is the workflow, and stands in for a missing agentId."""
    row = one(
        asteroid.SPEC, id="e1", status="RUNNING", workflow_id="w", workflow_version_id="v", workflow_name="Buy", started_at=T1
    )
    assert (row["agent_id"], row["workflow_id"], row["workflow_version_id"]) == ("w", "w", "v")
    assert (row["agent_name"], row["workflow_name"], row["status"], row["terminal"]) == ("Buy", "Buy", "running", False)


def test_asteroids_tombstone_has_ended() -> None:
    """A purged row is terminal whatever is left of it, and keeps the time of the purge."""
    row = one(asteroid.SPEC, id="e1", purged_at=T2)
    assert row["terminal"] is True
    assert str(row["purged_at"]) == "2026-11-20 10:01:30+00:00"


def test_asteroids_unknown_status_ends_with_its_time() -> None:
    """A word that is not known yet counts as an end when the time of the end is there."""
    assert one(asteroid.SPEC, status="timed_out", terminal_at=T2)["terminal"] is True
    assert one(asteroid.SPEC, terminal_at=T2)["terminal"] is True


@pytest.mark.parametrize(
    ("reason", "legs"), [("WARM_TRANSFER", ["main", "supervisor"]), ("warm_transfer", ["main", "supervisor"]), ("DNC", ["main"])]
)
def test_feathers_warm_transfer_has_two_legs(reason: str, legs: list[str]) -> None:
    """The supervisor's recording is expected exactly of a warm transfer."""
    row = one(feather.SPEC, id="c1", status="COMPLETED", call_ended_reason=reason, call_started_at=T1, call_ended_at=T2)
    assert row["legs"] == legs
    assert set(legs) <= {leg.value for leg in Leg}
    assert (str(row["started_at"]), str(row["ended_at"])) == ("2026-11-20 10:00:00+00:00", "2026-11-20 10:01:30+00:00")


@pytest.mark.parametrize(
    ("details", "name"), [('{"name": "Ann"}', "Ann"), ('{"name": null}', None), ("{broken", None), ('"text"', None), (None, None)]
)
def test_feathers_agent_name_comes_from_its_details(details: str | None, name: str | None) -> None:
    """The name is taken where the details have one, and no shape of them is a fault."""
    assert one(feather.SPEC, agent_id="a", agent_details=details)["agent_name"] == name


@pytest.mark.parametrize("row", [{}, {"ended_at": T2, "status": "ringing"}, {"status": "initiated"}, {"status": "Completed"}])
def test_katavens_sessions_may_always_be_asked_for(row: dict[str, str]) -> None:
    """An inventory line that was written when the call was placed never keeps its recording from being asked for."""
    assert one(kataven.SPEC, session_id="s", started_at=T1, **row)["terminal"] is True


def test_katavens_length_is_given_or_counted() -> None:
    """The length is the inventory's, or the seconds between start and end."""
    assert one(kataven.SPEC, started_at=T1, ended_at=T2)["duration_seconds"] == 90.0
    assert one(kataven.SPEC, started_at=T1, ended_at=T2, duration_seconds="7.5")["duration_seconds"] == 7.5
    assert one(kataven.SPEC, started_at=T1)["duration_seconds"] is None


def test_every_sql_file_says_its_grain(spec: ProviderSpec) -> None:
    """The first line of each statement names what a row is."""
    assert spec.canonical_sql.startswith("-- Grain: one row for each")
