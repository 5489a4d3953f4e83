"""The fault ``chaos``: which calls fail, in which ways, and that it can be repeated."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sandbox import chaos
from sandbox.chaos import API_WAYS, CONTINUATION_WAYS, Way
from tests.sandbox.client import Customer


@pytest.fixture
def recording(customer: Customer) -> dict[str, Any]:
    """A recording that is ready and may be fetched without surprises."""
    return customer.recordings("feather", "ready")[0]


def only(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """Let every failing call fail in ``way``."""
    monkeypatch.setattr(chaos, "WEIGHTS", {each: float(each is way) for each in Way})
    monkeypatch.setattr(chaos, "STALL_SECONDS", 0.01)


def seen(ask: httpx.Response | None, whole: bytes) -> str:
    """Say in a word what a client sees of a call."""
    if ask is None:
        return "broken"
    if ask.content == whole:
        return "whole"
    return f"{ask.status_code} short" if whole.startswith(ask.content) else str(ask.status_code)


def asked(customer: Customer, url: str, headers: dict[str, str] | None = None) -> httpx.Response | None:
    """Return an answer, or None where no whole one came."""
    try:
        return customer.http.get(url, headers=headers)
    except httpx.HTTPError:
        return None


WHAT_IS_SEEN = {
    Way.SERVER_ERROR: "500",
    Way.UNAVAILABLE: "503",
    Way.RATE_LIMITED: "429",
    Way.FORBIDDEN: "403",
    Way.HTML: "200",
    Way.RESET: "broken",
    Way.CUT: "broken",
    Way.CHUNKED_CUT: "broken",
    Way.ENDED_EARLY: "200 short",
    Way.STALL: "broken",
}


@pytest.mark.parametrize("way", API_WAYS)
def test_each_way_of_an_api(customer: Customer, monkeypatch: pytest.MonkeyPatch, recording: dict[str, Any], way: Way) -> None:
    """A call fails as the way says, and is counted as such."""
    url = f"{customer.sandbox.api_origin}/feather/api/v1/agent-calls/{recording['execution_id']}"
    headers = customer.headers("feather")
    whole = customer.http.get(url, headers=headers).content
    only(monkeypatch, way)
    customer.sandbox.set_fault("chaos", "1/a")
    answer = asked(customer, url, headers)
    assert seen(answer, whole) == WHAT_IS_SEEN[way]
    assert (way is Way.RATE_LIMITED) == (answer is not None and "Retry-After" in answer.headers)
    assert customer.sandbox.requests()["chaos"] == {"feather": {"calls": 1, "failed": {way: 1}}}


@pytest.mark.parametrize("way", CONTINUATION_WAYS)
def test_each_way_of_a_media_host(
    customer: Customer, monkeypatch: pytest.MonkeyPatch, recording: dict[str, Any], way: Way
) -> None:
    """A GET for the rest of a recording fails as the way says, and is counted as such."""
    link = customer.link(recording)
    first = customer.http.get(link)
    only(monkeypatch, way)
    customer.sandbox.set_fault("chaos", "1/a")
    answer = asked(customer, link, {"Range": "bytes=100-", "If-Range": first.headers["ETag"]})
    if way is Way.WHOLE:
        assert answer is not None
        assert (answer.status_code, answer.content) == (200, first.content)
    elif way is Way.OTHER_BYTES:
        assert answer is not None
        assert (answer.status_code, len(answer.content)) == (206, len(first.content) - 100)
        assert answer.headers["ETag"] != first.headers["ETag"]
        assert answer.content != first.content[100:]
    else:
        assert seen(answer, first.content[100:]).replace("206", "200") == WHAT_IS_SEEN[way]
    assert customer.sandbox.requests()["chaos"] == {"media": {"calls": 1, "failed": {way: 1}}}


def test_the_same_seed_fails_the_same_calls(customer: Customer) -> None:
    """What becomes of the n-th call for something is the same each time, whatever was asked between; another seed is other."""
    recordings = customer.recordings("kataven", "ready")[:10]

    def fates(seed: str, order: int) -> dict[str, list[int]]:
        customer.sandbox.reset()
        customer.sandbox.set_fault("chaos", f"0.3/{seed}")
        found: dict[str, list[int]] = {}
        for recording in recordings[::order] * 3:
            url = f"{customer.sandbox.api_origin}/kataven/v1/sessions/{recording['execution_id']}/recording"
            answer = asked(customer, url, customer.headers("kataven"))
            found.setdefault(recording["execution_id"], []).append(answer.status_code if answer else 0)
        return found

    assert fates("a", 1) == fates("a", -1)
    assert fates("a", 1) != fates("b", 1)


def test_the_share_is_kept(customer: Customer, recording: dict[str, Any]) -> None:
    """Of many calls about that share fails; of share 0 none, and all are counted."""
    url = f"{customer.sandbox.api_origin}/feather/api/v1/agent-calls/{recording['execution_id']}"
    for share, least, most in (("0.25/s", 30, 75), ("0", 0, 0)):
        customer.sandbox.reset()
        customer.sandbox.set_fault("chaos", share)
        for _ in range(200):
            asked(customer, url, customer.headers("feather"))
        counts = customer.sandbox.requests()["chaos"]["feather"]  # type: ignore[index]
        assert counts["calls"] == 200
        assert least <= sum(counts["failed"].values()) <= most
