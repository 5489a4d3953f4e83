"""Where things lie, and how ids become path segments."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.recordings.names import recording_path, safe_id
from resources.model import Leg

HOSTILE = [
    "../../x",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "a\x00b",
    "x" * 300,
    "%2e%2e",
    "CON",
    "nul.txt",
    "a ",
    "a.",
    "\u202eevil",
    "ü",
    "~a",
]


@given(st.text(max_size=120))
def test_a_segment_is_always_safe(execution_id: str) -> None:
    """No id leaves its folder, is hidden, too long, or has a character that a filesystem or shell minds."""
    segment = safe_id(execution_id)
    assert re.fullmatch(r"[a-z0-9_~-](?:[a-z0-9._~-]{0,98}[a-z0-9_~-])?", segment), segment


@given(st.text(alphabet="aAbB.-_~/%é\x00", max_size=6), st.text(alphabet="aAbB.-_~/%é\x00", max_size=6))
def test_two_ids_never_share_a_folder(one: str, two: str) -> None:
    """The encoding is injective, also where a filesystem ignores case."""
    assert (safe_id(one).lower() == safe_id(two).lower()) == (one == two)


@pytest.mark.parametrize("execution_id", HOSTILE)
def test_hostile_ids_stay_below_their_partition(execution_id: str) -> None:
    """A hostile id is encoded, not refused: its recording is archived like any other."""
    path = recording_path("kataven", date(2026, 11, 20), execution_id, Leg.MAIN, "wav")
    parts = path.split("/")
    assert parts[:3] == ["recordings", "provider=kataven", "date=2026-11-20"]
    assert len(parts) == 5
    assert parts[4] == "main.wav"
    assert "~" in parts[3]


def test_ordinary_ids_are_themselves() -> None:
    """A person finds a recording by its id."""
    assert safe_id("0b0c2f6e-5f5b-4f0e-9a55-9d2f6b9b8a10") == "0b0c2f6e-5f5b-4f0e-9a55-9d2f6b9b8a10"
    assert safe_id("agent_01HZ2N").startswith("agent_01hz2n~")
