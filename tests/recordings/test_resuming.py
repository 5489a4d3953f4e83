"""A recording whose transfer breaks is archived within one try, through the archiver and the sandbox's real servers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from assets.recordings.archiving import Selection, archive_day
from assets.recordings.events import Event
from assets.recordings.lifecycle import Outcome, State
from assets.recordings.report import DayReport
from resources.model import Leg, Link, RecordingKey
from resources.patience import FRESH_LINKS
from resources.providers.registry import PROVIDERS
from tests.conftest import Bench

ALLOWED_OVERHEAD = 1.05


class Interrupted:
    """A provider, before whose every link a test may do something."""

    def __init__(self, bench: Bench, name: str, before_link: Callable[[int], None]) -> None:
        self._real = bench.archive.provider(name)
        self._before_link = before_link
        self.links = 0
        bench.archive._providers[name] = self  # type: ignore[assignment]

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Ask the real provider for the n-th link."""
        self.links += 1
        self._before_link(self.links)
        return self._real.link(execution_id, leg)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the real one has
        return getattr(self._real, name)


def row_of(bench: Bench, provider: str, scenario: str) -> dict[str, Any]:
    """Return the largest recording of a scenario whose execution has no other."""
    rows = [row for row in bench.truth(provider) if row["scenario"] == scenario]
    return max(rows, key=lambda row: row["length"])


def archive_one(bench: Bench, row: dict[str, Any]) -> tuple[Event, DayReport]:
    """Archive one recording; return its event and the run's report."""
    provider, day = row["provider"], date.fromisoformat(row["date"])
    bench.discover(provider)
    report = archive_day(bench.archive, provider, day, "run-1", Selection(execution_ids=frozenset({row["execution_id"]})))
    key = RecordingKey(provider, row["execution_id"], Leg(row["leg"]))
    return bench.ledger.read_day(provider, day)[key], report


def counts_of(bench: Bench, row: dict[str, Any]) -> dict[str, int]:
    """Return what the sandbox has counted for a recording."""
    name = (row["execution_id"], row["leg"])
    return next(each for each in bench.sandbox.requests()["recordings"] if (each["execution_id"], each["leg"]) == name)


def check_stored(bench: Bench, row: dict[str, Any], event: Event) -> None:
    """Check that the right bytes are archived, at the first attempt."""
    assert event.life.state is State.ARCHIVED, event
    assert event.life.attempts == 1
    assert event.copy is not None
    data = (Path(bench.archive.settings.archive_root) / event.copy.path).read_bytes()
    assert hashlib.sha256(data).hexdigest() == row["sha256"] == event.copy.sha256


@pytest.mark.parametrize("provider", list(PROVIDERS))
def test_a_cut_in_mid_body_costs_a_link_and_nothing_else(bench: Bench, provider: str) -> None:
    """One try, one attempt, one more link, and not a twentieth more bytes than the recording has."""
    row = row_of(bench, provider, "media-cut-once")
    event, report = archive_one(bench, row)
    check_stored(bench, row, event)
    counts = counts_of(bench, row)
    assert (counts["media_gets"], counts["links_issued"]) == (2, 2)
    assert counts["media_bytes"] <= row["length"] * ALLOWED_OVERHEAD
    assert report.continuations == 1
    assert bench.clock.slept == []


def test_a_host_that_cuts_every_answer_is_followed_to_the_end(bench: Bench) -> None:
    """Eleven answers of a tenth each make one recording, within one try, and no byte comes twice."""
    row = row_of(bench, "feather", "ready")
    bench.sandbox.set_fault("media-truncate", row["length"] // 10)
    event, report = archive_one(bench, row)
    check_stored(bench, row, event)
    assert report.continuations == counts_of(bench, row)["links_issued"] - 1 == counts_of(bench, row)["media_gets"] - 1 >= 9
    assert counts_of(bench, row)["media_bytes"] <= row["length"] * ALLOWED_OVERHEAD


def test_an_overlap_is_compared_and_joined(bench: Bench) -> None:
    """A host that begins a little early, and says so, is believed."""
    row = row_of(bench, "asteroid", "media-cut-once")
    bench.sandbox.set_fault("media-overlap", 1000)
    event, report = archive_one(bench, row)
    check_stored(bench, row, event)
    assert report.continuations == 1
    assert counts_of(bench, row)["media_bytes"] == row["length"] + 1000


@pytest.mark.parametrize("fault", ["media-no-ranges", "media-new-etag"])
def test_what_cannot_be_trusted_starts_from_zero(bench: Bench, fault: str) -> None:
    """A host without ranges, or a recording that changed, is fetched whole within the same attempt."""
    row = row_of(bench, "kataven", "media-cut-once")
    bench.sandbox.set_fault(fault)
    event, report = archive_one(bench, row)
    check_stored(bench, row, event)
    assert report.continuations == 0
    assert counts_of(bench, row)["media_gets"] == 3


def test_a_recording_that_changes_all_the_time_is_never_published(bench: Bench) -> None:
    """Parts of different recordings are not joined, however often it is tried."""
    row = row_of(bench, "kataven", "ready")
    bench.sandbox.set_fault("media-new-etag")
    bench.sandbox.set_fault("media-truncate", row["length"] // 2 + 1)
    event, _ = archive_one(bench, row)
    assert (event.outcome, event.life.state, event.life.attempts) == (Outcome.TRANSIENT, State.PENDING, 1)
    assert "changed" in (event.detail or "")
    assert list(bench.archive.storage.list("recordings")) == []


def test_a_link_that_lapses_during_the_transfer_is_replaced(bench: Bench) -> None:
    """Dead links between the parts cost neither an attempt nor a byte."""
    row = row_of(bench, "asteroid", "media-cut-once")
    provider = Interrupted(bench, "asteroid", lambda n: bench.sandbox.set_fault("link-expired", value=n in {2, 3}))
    event, report = archive_one(bench, row)
    check_stored(bench, row, event)
    assert provider.links == report.links == 4
    assert counts_of(bench, row)["media_bytes"] <= row["length"] * ALLOWED_OVERHEAD


def test_links_that_are_dead_for_good_end_the_try_without_an_attempt(bench: Bench) -> None:
    """The links of one try are few, and nothing is said about the recording."""
    row = row_of(bench, "feather", "media-cut-once")
    provider = Interrupted(bench, "feather", lambda n: bench.sandbox.set_fault("link-expired", value=n > 1))
    event, _ = archive_one(bench, row)
    assert (event.outcome, event.life.attempts) == (Outcome.EXPIRED, 0)
    assert provider.links <= 2 * FRESH_LINKS
    assert list(bench.archive.storage.list("recordings")) == []


def test_a_provider_that_fails_between_the_parts_is_not_stormed(bench: Bench) -> None:
    """The tries for a fresh link are those of one patience; they do not multiply with those of the recording."""
    row = row_of(bench, "feather", "media-cut-once")
    provider = Interrupted(bench, "feather", lambda n: bench.sandbox.set_fault("everything-500", value=n > 1))
    event, _ = archive_one(bench, row)
    assert (event.outcome, event.life.attempts) == (Outcome.TRANSIENT, 1)
    assert provider.links == 1 + 1 + bench.archive.settings.transient_retries
    assert list(bench.archive.storage.list("recordings")) == []


def test_a_key_that_is_refused_between_the_parts_blocks(bench: Bench) -> None:
    """What the provider says instead of a fresh link is the outcome."""
    row = row_of(bench, "asteroid", "media-cut-once")
    Interrupted(bench, "asteroid", lambda n: bench.sandbox.set_fault("wrong-keys", value=n > 1))
    event, _ = archive_one(bench, row)
    assert (event.outcome, event.life.state, event.life.attempts) == (Outcome.BLOCKED, State.BLOCKED, 0)
    assert list(bench.archive.storage.list("recordings")) == []
