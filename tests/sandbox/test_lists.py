"""Lists of executions: pages, cursors, filters, and rows that come late."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.client import Customer, HandClock, Param


def _walk(customer: Customer, **params: Param) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    page = 1
    while True:
        answer = customer.executions(page=page, **params).json()
        items += answer["items"]
        if page * answer["pageSize"] >= answer["total"]:
            return items
        page += 1


def _ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def test_asteroid_pages_hold_ten_rows_unless_told(customer: Customer) -> None:
    """The default page has 10 rows, pages begin at 1, and all pages together are everything visible, once."""
    first = customer.executions().json()
    assert (first["page"], first["pageSize"], len(first["items"])) == (1, 10, 10)
    rows = _walk(customer, pageSize=7)
    assert len(rows) == len(set(_ids(rows))) == first["total"]
    created = [row["createdAt"] for row in _walk(customer, sort="created_at:asc", pageSize=100)]
    assert created == sorted(created)


def test_asteroid_filters_by_time_status_and_phase(customer: Customer) -> None:
    """The bounds createdAfter and createdBefore cut out a day; status and phase may be repeated."""
    day = _walk(customer, createdAfter="2026-03-04T00:00:00Z", createdBefore="2026-03-04T23:59:59.999Z", pageSize=100)
    assert day
    assert {row["createdAt"][:10] for row in day} == {"2026-03-04"}
    running = _walk(customer, phase=["pending", "active"], pageSize=100)
    assert running
    assert not {row["status"] for row in running} & {"completed", "failed", "cancelled"}
    assert {row["status"] for row in _walk(customer, status=["failed", "cancelled"])} == {"failed", "cancelled"}


@pytest.mark.parametrize("wrong", [{"page": 0}, {"pageSize": "ten"}, {"createdAfter": "yesterday"}, {"sort": "size"}])
def test_asteroid_refuses_a_malformed_query(customer: Customer, wrong: dict[str, Any]) -> None:
    """A query parameter that cannot be understood is 400."""
    assert customer.executions(**wrong).status_code == 400


def test_asteroid_rows_shift_while_pages_are_read(customer: Customer) -> None:
    """With shifting pages a walk sees a row twice and misses another, and the total moves."""
    calm = _walk(customer, pageSize=10)
    customer.sandbox.set_fault("asteroid-shifting-pages", 2)
    shifted = _walk(customer, pageSize=10)
    assert len(set(_ids(shifted))) < len(shifted)
    assert set(_ids(shifted)) < set(_ids(calm))
    assert _ids(_walk(customer, pageSize=10)) == _ids(calm)


def test_asteroid_bounds_may_be_exclusive(customer: Customer) -> None:
    """A row at midnight is inside inclusive bounds, and outside once the bounds are made exclusive."""
    bounds = {"createdAfter": "2026-03-05T00:00:00Z", "createdBefore": "2026-03-05T00:00:00Z"}
    assert len(_walk(customer, **bounds)) == 1
    customer.sandbox.set_fault("asteroid-exclusive-bounds")
    assert _walk(customer, **bounds) == []


def test_feather_walks_from_the_newest_to_the_end(customer: Customer) -> None:
    """The cursor leads through every call once, the newest first; limit is 10 unless told, and a string."""
    calls = customer.all_calls()
    created = [call["createdAt"] for call in calls]
    assert len(set(_ids(calls))) == len(calls) > 20
    assert created == sorted(created, reverse=True)
    page = customer.get("feather", "/api/v1/agent-calls").json()
    assert (len(page["agentCalls"]), page["pagination"]["limit"]) == (10, 10)
    assert customer.get("feather", "/api/v1/agent-calls", cursor="nonsense").status_code == 400
    assert customer.get("feather", "/api/v1/agent-calls", limit="many").status_code == 400


def test_feather_can_repeat_its_cursor(customer: Customer) -> None:
    """With the fault on, the next page is the same page and has the same cursor."""
    customer.sandbox.set_fault("feather-repeated-cursor")
    first = customer.get("feather", "/api/v1/agent-calls").json()
    second = customer.get("feather", "/api/v1/agent-calls", cursor=first["pagination"]["nextCursor"]).json()
    assert second["pagination"] == first["pagination"]
    assert _ids(second["agentCalls"]) == _ids(first["agentCalls"])


def test_one_execution_is_the_same_object_as_in_the_list(customer: Customer) -> None:
    """GET by id answers with the row of the list; an unknown id is 404, a malformed one 400 at Asteroid."""
    row = customer.executions().json()["items"][-1]
    assert customer.get("asteroid", f"/executions/{row['id']}").json() == row
    assert customer.get("asteroid", "/executions/not-a-uuid").status_code == 400
    assert customer.get("asteroid", "/executions/00000000-0000-4000-8000-000000000000").status_code == 404
    call = customer.all_calls()[0]
    assert customer.get("feather", f"/api/v1/agent-calls/{call['id']}").json() == {"agentCall": call}
    assert customer.get("feather", "/api/v1/agent-calls/unknown").status_code == 404


@pytest.mark.parametrize("provider", ["asteroid", "feather"])
def test_a_late_row_appears_in_an_earlier_day(customer: Customer, clock: HandClock, provider: str) -> None:
    """A late row is in no list at first, and in an earlier day's after some seconds."""
    late = customer.recordings(provider, "late-row")[0]

    def listed() -> set[str]:
        rows = _walk(customer, pageSize=100) if provider == "asteroid" else customer.all_calls()
        return set(_ids(rows))

    assert late["execution_id"] not in listed()
    assert customer.ask(late).status_code in {400, 404}
    clock.move(5)
    assert late["execution_id"] in listed()
    assert late["date"] < "2026-03-05"


def test_runs_end_while_the_sandbox_runs(customer: Customer, clock: HandClock) -> None:
    """Running and queued executions become terminal after some seconds; one never does."""
    before = {row["status"] for row in _walk(customer, phase=["pending", "active"])}
    assert {"queued", "hibernating"} <= before
    clock.move(5)
    assert {row["status"] for row in _walk(customer, phase=["pending", "active"])} == {"hibernating"}


def test_a_purge_leaves_a_tombstone(customer: Customer, clock: HandClock) -> None:
    """A purged row keeps its ids and dates, gains purgedAt and loses its data, at once or after some seconds."""
    (old,), (later,) = customer.recordings("asteroid", "purged"), customer.recordings("asteroid", "purged-later")
    tombstone = customer.get("asteroid", f"/executions/{old['execution_id']}").json()
    assert "purgedAt" in tombstone
    assert not {"inputs", "recordingUrl", "executionResult", "triggerContext"} & tombstone.keys()
    link = customer.link(later)
    assert "inputs" in customer.get("asteroid", f"/executions/{later['execution_id']}").json()
    clock.move(5)
    assert "purgedAt" in customer.get("asteroid", f"/executions/{later['execution_id']}").json()
    assert customer.ask(later).status_code == 404
    assert customer.http.get(link).status_code == 404


def test_metadata_drifts(customer: Customer) -> None:
    """The rows hold both generations, unknown fields, unknown words, wrong types and hidden links."""
    rows = _walk(customer, pageSize=100)
    new = [row for row in rows if "workflowVersionId" in row and "purgedAt" not in row]
    assert 0 < len(new) < len(rows)
    assert all(row["workflowId"] == row["agentId"] for row in new)
    triggers = [row["triggerContext"] for row in rows if "triggerContext" in row]
    assert {trigger["source"] for trigger in triggers} == {"api", "ui", "schedule", "warmup"}
    assert any("actor" in trigger for trigger in triggers)
    assert any("carbonGrams" in row for row in rows)
    assert any(isinstance(row.get("duration"), str) for row in rows)
    assert any("X-Amz-Signature" in comment["content"] for row in rows for comment in row["comments"])
    calls = customer.all_calls()
    assert {type(call["transcript"]) for call in calls} == {str, list, type(None)}
    assert any(isinstance(call["callDuration"], str) for call in calls)
    assert {"WARM_TRANSFER", "AGENT_HANDOFF"} <= {call["callEndedReason"] for call in calls}
    assert "HIBERNATING" in {call["status"] for call in calls}


def test_links_in_metadata_are_truly_signed(customer: Customer) -> None:
    """The recordingUrl of a row can be fetched without any key."""
    ready = {recording["execution_id"] for recording in customer.recordings(scenario="ready")}
    rows = [row for row in _walk(customer, pageSize=100) + customer.all_calls() if row["id"] in ready]
    assert len(rows) > 20
    assert {customer.http.get(row["recordingUrl"]).status_code for row in rows} == {200}
