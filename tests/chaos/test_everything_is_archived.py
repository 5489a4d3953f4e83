"""A fifth of all calls fails, and nothing is missing, wrong, or there twice; with one check less, something is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.chaos import LEAST_WAYS, totals
from resources.transfer import media, resumption
from resources.transfer.resumption import Offer, Row, Verdict
from resources.transfer.signature import Container
from resources.transfer.stream import Source, Stream
from sandbox import chaos
from sandbox.chaos import Way
from sandbox.options import WorldOptions
from tests.chaos.conftest import ANCHOR, Trial

MakeTrial = Callable[..., Trial]
RECORDINGS = 150
OTHER_BYTES = "is archived as other bytes than it has"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_lost_while_a_fifth_of_all_calls_fails(trial: MakeTrial, seed: int) -> None:
    """Every recording ends as the truth says, with its hash; a fifth of all calls failed, in all the ways that there are."""
    run = trial(WorldOptions(seed=seed, recordings=RECORDINGS, megabytes=5, anchor=ANCHOR), f"chaos=0.2/{seed}")
    assert run.run() == []
    requests = run.sandbox.requests()
    calls, failed = totals(requests)
    assert 0.15 < sum(failed.values()) / calls < 0.25
    assert set(chaos.API_WAYS) <= failed.keys()
    assert requests["chaos"].keys() == {"asteroid", "feather", "kataven", "media"}  # type: ignore[attr-defined]
    assert len(requests["chaos"]["media"]["failed"]) >= LEAST_WAYS  # type: ignore[index]


def test_a_world_without_chaos_needs_one_call_of_each_kind(trial: MakeTrial) -> None:
    """The figures of a quiet run: what the failing calls cost is what is above it."""
    run = trial(WorldOptions(recordings=40, megabytes=1, anchor=ANCHOR, calm=True), "chaos=0")
    assert run.run() == []
    rows = run.sandbox.requests()["recordings"]
    assert {(row["link_asks"], row["links_issued"], row["media_gets"]) for row in rows} == {(1, 1, 1)}  # type: ignore[attr-defined]


def accept_any_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take whatever comes for a recording, HTML too."""
    monkeypatch.setattr(media, "detect", lambda _head: Container("mp4", "video/mp4"))


def accept_a_short_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the end of an answer for the end of the recording."""
    monkeypatch.setattr(Stream, "_at_end_of_answer", lambda stream: setattr(stream, "_whole", True))


def accept_another_etag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe a 206 whose validator changed."""
    rows = tuple(row for row in resumption.MATRIX if row.name != "validator changed")
    monkeypatch.setattr(resumption, "MATRIX", rows)


def accept_a_200_as_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Append whatever comes with a 200 to what is there, as a client does that does not look at the status."""
    reopen, admit = Stream._reopen, Stream._admit

    def trusting(stream: Stream, source: Source) -> tuple[Row, Offer]:
        row, offer = reopen(stream, source)
        if offer.status != 200:
            return row, offer
        as_asked = next(row for row in resumption.MATRIX if row.verdict is Verdict.GO_ON)
        return as_asked, Offer(206, {"content-range": f"bytes {stream.position}-{(stream.length or 0) - 1}/{stream.length}"})

    def counting_no_bytes(stream: Stream, data: bytes) -> bytes:
        stream._answer_end = None
        room = (stream.length or 0) - stream.position
        return admit(stream, data[:room])

    monkeypatch.setattr(Stream, "_reopen", trusting)
    monkeypatch.setattr(Stream, "_admit", counting_no_bytes)


MUTATIONS = {
    "a container is not looked for": (accept_any_container, {Way.HTML}),
    "the length is not compared": (accept_a_short_body, {Way.CUT}),
    "another ETag is taken": (accept_another_etag, {Way.CUT, Way.OTHER_BYTES}),
    "a 200 is taken for the rest": (accept_a_200_as_the_rest, {Way.CUT, Way.WHOLE}),
}


def wrong_bytes(trial: MakeTrial, monkeypatch: pytest.MonkeyPatch, ways: set[Way], **settings: object) -> list[str]:
    """Archive a small world while half of all calls fail in ``ways`` alone; return what was archived as other bytes."""
    monkeypatch.setattr(chaos, "WEIGHTS", {way: float(way in ways) for way in Way})
    run = trial(WorldOptions(recordings=24, megabytes=1, anchor=ANCHOR, calm=True), "chaos=0.5/1", **settings)
    found = run.run(most=2)
    assert set(totals(run.sandbox.requests())[1]) == ways
    return [words for words in found if OTHER_BYTES in words]


@pytest.mark.parametrize("name", MUTATIONS)
def test_one_check_less_is_noticed(trial: MakeTrial, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without the check that stands against a way, wrong bytes are archived, and the comparison names them."""
    mutate, ways = MUTATIONS[name]
    mutate(monkeypatch)
    assert wrong_bytes(trial, monkeypatch, ways)


@pytest.mark.parametrize(
    "ways", [{Way.CUT, Way.OTHER_BYTES, Way.WHOLE}, {Way.HTML, Way.CUT, Way.ENDED_EARLY}], ids=["rest", "first"]
)
def test_with_all_checks_no_wrong_byte_is_archived(trial: MakeTrial, monkeypatch: pytest.MonkeyPatch, ways: set[Way]) -> None:
    """The same ways, with nothing taken away."""
    assert wrong_bytes(trial, monkeypatch, ways) == []


def test_a_body_without_a_length_is_refused_for_a_reason(trial: MakeTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but MEDIA_REQUIRE_LENGTH stands against a body that ends in good order before it is whole."""
    assert wrong_bytes(trial, monkeypatch, {Way.ENDED_EARLY}, media_require_length=False)
