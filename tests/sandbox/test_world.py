"""A world is what its options say, and says the truth about itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from sandbox.options import OptionError, WorldOptions
from sandbox.routes import PROVIDERS
from sandbox.world import World
from tests.sandbox.client import NOON

PLANS = [service.plan for service in PROVIDERS]
MIB = 1024 * 1024
SMALL = WorldOptions(anchor=NOON, megabytes=3)


def _truth(
    **options: Any,  # noqa: ANN401  # any field of the options
) -> dict[str, Any]:
    return World(replace(SMALL, **options), PLANS).truth()


def test_the_same_options_are_the_same_world() -> None:
    """Equal options with an anchor give an equal truth; another seed gives another."""
    assert _truth() == _truth()
    assert _truth(seed=8) != _truth()


def test_totals_are_at_least_what_was_asked() -> None:
    """There are exactly so many recordings, and what can be archived has at least so many MiB."""
    recordings = _truth(megabytes=200.0)["recordings"]
    assert len(recordings) == 160
    sizes = [recording["length"] for recording in recordings if recording["final_state"] == "archived"]
    assert 200 * MIB <= sum(sizes) <= 220 * MIB
    assert min(sizes) > 4_000
    assert sum(100_000 <= size <= 5_000_000 for size in sizes) > 0.9 * len(sizes)


@pytest.mark.parametrize("anchor", [NOON, NOON.replace(hour=0, minute=1), NOON.replace(hour=23, minute=59)])
@pytest.mark.parametrize("days", [1, 3])
def test_nothing_is_created_in_the_future(anchor: datetime, days: int) -> None:
    """Creation lies within the days of the window, and before the anchor, at any time of the day."""
    truth = _truth(anchor=anchor, days=days)
    first, last = (date.fromisoformat(truth["window"][name]) for name in ("first", "last"))
    assert (last, last - first) == (anchor.date(), timedelta(days=days - 1))
    for execution in truth["executions"]:
        created_at = datetime.fromisoformat(execution["created_at"])
        assert created_at <= anchor
        assert execution["date"] == created_at.astimezone(UTC).date().isoformat()
        assert first <= created_at.date() <= last


def test_every_day_has_recordings_of_every_provider() -> None:
    """Recordings are spread over the whole window."""
    counts = Counter((recording["provider"], recording["date"]) for recording in _truth()["recordings"])
    assert len(counts) == 9
    assert min(counts.values()) >= 5


def test_final_states_are_told() -> None:
    """Most are archived; absent, purged and pending ones exist; a late purge allows two answers."""
    recordings = _truth()["recordings"]
    states = Counter(recording["final_state"] for recording in recordings)
    assert states.keys() == {"archived", "absent", "purged", "pending"}
    assert states["archived"] > 0.8 * len(recordings)
    (later,) = (recording for recording in recordings if recording["scenario"] == "purged-later")
    assert later["final_states"] == ["archived", "purged"]
    for recording in recordings:
        assert (recording["sha256"] is None) == (recording["final_state"] != "archived")


def test_executions_that_never_end_are_told() -> None:
    """An execution is terminal in the end unless it never ends."""
    truth = _truth()
    endless = {execution["execution_id"] for execution in truth["executions"] if not execution["terminal_at_end"]}
    never = {found["execution_id"] for found in truth["recordings"] if found["scenario"] == "never-ends"}
    assert endless == never
    assert len(never) == 2


def test_ids_look_like_the_providers_own() -> None:
    """Asteroid and Feather have UUIDs, Kataven has ULIDs behind ``agent_``; no id repeats."""
    executions = _truth()["executions"]
    ids = [execution["execution_id"] for execution in executions]
    assert len(set(ids)) == len(ids)
    lengths = {(execution["provider"], len(execution["execution_id"])) for execution in executions}
    assert lengths == {("asteroid", 36), ("feather", 36), ("kataven", 32)}


def test_a_calm_world_has_only_ready_recordings() -> None:
    """For benchmarks there is a world without any scenario."""
    assert {recording["scenario"] for recording in _truth(calm=True)["recordings"]} == {"ready"}


@pytest.mark.parametrize("recordings", [1, 2, 5, 30])
def test_small_worlds_have_as_many_recordings_as_asked(recordings: int) -> None:
    """A world may be too small for all scenarios, and still has the right number of recordings."""
    assert len(_truth(recordings=recordings)["recordings"]) == recordings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"days": 0}, "at least 1"),
        ({"end_date": date(2026, 3, 6)}, "in the future"),
        ({"anchor": datetime(2026, 3, 5)}, "time zone"),  # noqa: DTZ001  # the fault under test
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    """A wrong option is named."""
    with pytest.raises(OptionError, match=message):
        _truth(**options)


def test_a_continued_world_has_gone_on_meanwhile() -> None:
    """Started again an hour later, a continued world is an hour older; otherwise it begins at its anchor again."""
    later = NOON + timedelta(hours=1)
    assert World(SMALL, PLANS, clock=lambda: later).now() == NOON
    assert World(replace(SMALL, continued=True), PLANS, clock=lambda: later).now() == later
