"""Our clock may be wrong: a fresh link is not taken for a lapsed one because of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest

from resources.model import Leg
from tests.providers.conftest import Make
from tests.providers.server import Canned, StubServer, json_answer
from tests.providers.world import ASTEROID, FEATHER, KATAVEN, Case, FakeClock

LIFE = timedelta(minutes=5)
WRONG = [timedelta(minutes=-40), timedelta(0), timedelta(minutes=10), timedelta(hours=9)]


def _answer(case: Case, theirs: datetime) -> Canned:
    """Return a link that lives for LIFE, from a provider that is right."""
    ends = theirs + LIFE
    date = format_datetime(theirs, usegmt=True)
    if case is ASTEROID:
        url = f"https://media.example/v?X-Amz-Date={theirs:%Y%m%dT%H%M%SZ}&X-Amz-Expires={LIFE.seconds}"
        return Canned(307, headers={"Location": url, "Date": date})
    name = "expiresAt" if case is FEATHER else "expires_at"
    return json_answer({"url": "https://media.example/v", name: ends.isoformat()}, Date=date)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
@pytest.mark.parametrize("case", [ASTEROID, FEATHER, KATAVEN], ids=lambda case: case.name)
def test_a_link_lives_as_long_as_the_provider_means(
    make: Make, server: StubServer, clock: FakeClock, case: Case, wrong: timedelta
) -> None:
    """By our clock, right or wrong, it lapses five minutes from now."""
    ours = clock.runtime.now()
    server.script(_answer(case, (ours - wrong).replace(microsecond=0)))
    expires_at = make(case).link("e1", Leg.MAIN).expires_at
    assert expires_at is not None
    assert abs(expires_at - (ours + LIFE)) < timedelta(seconds=1)


@pytest.mark.parametrize("date", ["", "yesterday", "Sat, 21 Nov 2026 12:00:00"])
def test_without_a_date_the_provider_is_taken_at_its_word(make: Make, server: StubServer, clock: FakeClock, date: str) -> None:
    """No Date, an unreadable one or one without a zone changes nothing."""
    ends = clock.runtime.now() + LIFE
    headers = {"Date": date} if date else {}
    server.script(json_answer({"url": "https://media.example/v", "expiresAt": ends.isoformat()}, **headers))
    assert make(FEATHER).link("e1", Leg.MAIN).expires_at == ends
