"""Asteroid's object has changed its shape and the meaning of a field: the lake's columns mean the same throughout."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta

import pytest

from assets.executions.decode import decode
from assets.executions.intake import Row
from assets.executions.merge import merge
from resources.providers.asteroid import SPEC
from tests.executions.specimen import DAY, NOON

ID = "0b5e5b3e-0000-4000-8000-000000000001"
# One execution: as the documented generation says it, as today's does, and after the purge.
DOCUMENTED = {
    "id": ID,
    "agentId": "flow-1",
    "workflowId": "version-7",
    "status": "completed",
    "createdAt": "2026-11-20T10:00:00Z",
    "inputs": {"q": "shoes"},
    "humanLabels": [],
}
TODAY = {
    "id": ID,
    "agentId": "flow-1",
    "workflowId": "flow-1",
    "workflowVersionId": "version-7",
    "workflowName": "Shoes",
    "status": "completed",
    "createdAt": "2026-11-20T10:00:00Z",
    "startedAt": "2026-11-20T10:00:02Z",
    "inputs": {"q": "shoes"},
}
TOMBSTONE = {**TODAY, "inputs": {}, "workflowName": "", "agentId": None, "purgedAt": "2026-12-20T00:00:00Z"}


@pytest.mark.parametrize("order", list(itertools.permutations([DOCUMENTED, TODAY, TOMBSTONE])))
def test_every_order_of_generations_says_the_same(order: tuple[dict[str, object], ...]) -> None:
    """Whatever generation is read first, after a purge too, the workflow is the workflow and no fact is gone."""
    known: dict[str, Row] = {}
    for hour, fields in enumerate(order):
        seen = NOON + timedelta(hours=hour)
        known = merge(SPEC, known, [Row(ID, NOON, json.dumps(fields), seen, seen)]).rows
    (found,) = decode(SPEC, list(known.values()), DAY).to_pylist()
    assert (found["workflow_id"], found["workflow_version_id"]) == ("flow-1", "version-7")
    assert (found["agent_id"], found["workflow_name"], found["inputs"]) == ("flow-1", "Shoes", '{"q": "shoes"}')
    assert found["purged_at"] is not None
    assert found["terminal"] is True


@pytest.mark.parametrize("fields", [DOCUMENTED, TODAY])
def test_each_generation_alone_says_the_same(fields: dict[str, object]) -> None:
    """An archive that has only one of the generations names the same workflow."""
    (found,) = decode(SPEC, [Row(ID, NOON, json.dumps(fields), NOON, NOON)], DAY).to_pylist()
    assert (found["workflow_id"], found["workflow_version_id"], found["_bad"]) == ("flow-1", "version-7", None)
