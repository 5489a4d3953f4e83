"""A patient client gets everything that the truth promises, and nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from tests.sandbox.client import Customer, HandClock

ROUNDS = 6
LINK_STATUSES = {200, 307}


def _fetch(customer: Customer, recording: dict[str, Any]) -> str | None:
    """Return the SHA-256 of the recording as it is served, or None when this try fails."""
    if customer.ask(recording).status_code not in LINK_STATUSES:
        return None
    try:
        answer = customer.http.get(customer.link(recording))
    except httpx.RemoteProtocolError:
        return None
    return hashlib.sha256(answer.content).hexdigest() if answer.status_code == 200 else None


@pytest.mark.filterwarnings("error")
def test_patience_archives_what_the_truth_says(customer: Customer, clock: HandClock) -> None:
    """After some rounds exactly the recordings whose final states allow it are had, each with the bytes of the truth."""
    waiting = customer.recordings()
    had: dict[tuple[str, str, str], str] = {}
    for _ in range(ROUNDS):
        for recording in waiting:
            digest = _fetch(customer, recording)
            if digest:
                had[recording["provider"], recording["execution_id"], recording["leg"]] = digest
        waiting = [found for found in waiting if (found["provider"], found["execution_id"], found["leg"]) not in had]
        clock.move(2)
    assert had == {
        (found["provider"], found["execution_id"], found["leg"]): found["sha256"]
        for found in customer.recordings()
        if "archived" in found["final_states"]
    }
    assert customer.sandbox.requests()["media_header_leaks"] == 0
