"""What becomes of a recording: some usual lives, each lived once through the real transitions, as a pattern for millions.

Times are kept as the distance from the moment at which the recording could be asked for; the events of a day are made from them
column by column.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from assets.recordings.lifecycle import COPY_IS_THERE, Fact, Life, Outcome, Policy, State, transition
from benchmarks.world.plan import even
from resources.model import Leg, RecordingKey

_SEEN = datetime(2026, 1, 1, tzinfo=UTC)
_ELIGIBLE = _SEEN + timedelta(hours=1)
_ENDED = _SEEN + timedelta(minutes=20)
_KEY = RecordingKey("any", "any", Leg.MAIN)
_POLICY = Policy(attempt_limit=6)
_MICROSECOND = timedelta(microseconds=1)
_DETAILS = {
    Outcome.NOT_READY: "HTTP 409: not ready yet",
    Outcome.NOT_CONFIGURED: "HTTP 503: playback is not configured",
    Outcome.ABSENT: "HTTP 404: there is no recording",
    Outcome.PURGED: "HTTP 410: the recording was purged",
    Outcome.BLOCKED: "HTTP 403: the key may not see this",
    Outcome.TRANSIENT: "the connection broke",
    Outcome.RATE_LIMITED: "HTTP 429: asked too often",
}
_STATUSES = {
    Outcome.ARCHIVED: 200,
    Outcome.NOT_READY: 409,
    Outcome.NOT_CONFIGURED: 503,
    Outcome.ABSENT: 404,
    Outcome.PURGED: 410,
    Outcome.BLOCKED: 403,
    Outcome.RATE_LIMITED: 429,
}


@dataclass(frozen=True, slots=True)
class Script:
    """One usual life.

    Attributes:
        name: for people.
        share: of all recordings.
        early: whether its execution was still running when it was first seen.
        tries: the outcomes after it could be asked for; None means that its execution has not ended.
    """

    name: str
    share: float
    early: bool
    tries: tuple[Outcome, ...] | None

    @property
    def final(self) -> State:
        """The state at its end."""
        return list(_lives(self))[-1][2].state


_WAIT, _GOT = Outcome.NOT_READY, Outcome.ARCHIVED
SCRIPTS = (
    Script("at once", 0.14, early=False, tries=(_GOT,)),
    Script("usual", 0.45, early=True, tries=(_WAIT, Outcome.DESCRIBED, _GOT)),
    Script("slow", 0.20, early=True, tries=(_WAIT, _WAIT, _WAIT, _WAIT, _GOT)),
    Script("troubled", 0.09, early=True, tries=(Outcome.TRANSIENT, Outcome.RATE_LIMITED, _GOT)),
    Script("absent", 0.06, early=True, tries=(Outcome.ABSENT, _WAIT, Outcome.ABSENT, Outcome.ABSENT)),
    Script("purged", 0.03, early=True, tries=(_WAIT, Outcome.PURGED)),
    Script("failed", 0.02, early=True, tries=(Outcome.TRANSIENT,) * _POLICY.attempt_limit),
    Script("open: not ready", 0.004, early=True, tries=(_WAIT, _WAIT)),
    Script("open: pending", 0.002, early=True, tries=(Outcome.TRANSIENT,)),
    Script("open: running", 0.002, early=True, tries=None),
    Script("open: blocked", 0.002, early=True, tries=(Outcome.BLOCKED,)),
)
RUNNING = next(number for number, script in enumerate(SCRIPTS) if script.tries is None)
PURGED = next(number for number, script in enumerate(SCRIPTS) if script.name == "purged")
ABSENT = next(number for number, script in enumerate(SCRIPTS) if script.name == "absent")
_AT_ONCE = 0
_NOT_READY = next(number for number, script in enumerate(SCRIPTS) if script.name == "open: not ready")
_ENDS = tuple(itertools.accumulate(script.share for script in SCRIPTS))


def script_of(number: int, *, may_run: bool, is_young: bool) -> int:
    """Return which script the ``number``-th recording of a provider follows; shares come out exact over any stretch of numbers.

    Args:
        number: whole.
        may_run: whether its execution may be one that has not ended.
        is_young: whether it is too young to have been asked for over days.
    """
    found = bisect(_ENDS, even(number) * _ENDS[-1])
    if found == RUNNING and not may_run:
        return _NOT_READY
    return _AT_ONCE if found == ABSENT and is_young else found


def steps() -> pa.Table:
    """Return the events of every script, one row each: times are microseconds since the recording could be asked for.

    ``at`` is null for the first sight of a running execution, which comes before that.
    """
    rows = [row for number, script in enumerate(SCRIPTS) for row in _rows(number, script)]
    whole = ("script", "seq", "at", "next_attempt_at", "trying_since", "eligible_since", "http_status")
    counts = ("attempts", "attempts_before", "suspects", "absences", "epoch")
    kinds: dict[str, pa.DataType] = {name: pa.int64() for name in (*whole, *counts)}
    kinds |= {name: pa.bool_() for name in ("has_copy", "knows_end", "is_due")}
    return pa.table({name: pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in rows[0]})


def _rows(number: int, script: Script) -> Iterator[dict[str, Any]]:
    lives = list(_lives(script))
    for place, (outcome, at, life) in enumerate(lives):
        is_last = place == len(lives) - 1
        yield {
            "script": number,
            "seq": place + 1,
            "outcome": outcome.value,
            "state": life.state.value,
            "at": _since(at) if at != _SEEN or not script.early else None,
            "next_attempt_at": _since(life.next_attempt_at),
            "eligible_since": _since(life.eligible_since),
            "trying_since": _since(life.trying_since),
            "http_status": _STATUSES.get(outcome),
            "detail": _DETAILS.get(outcome),
            "has_copy": outcome in COPY_IS_THERE,
            "knows_end": life.ended_at is not None,
            "is_due": is_last and not life.terminal and life.next_attempt_at is not None,
        } | {name: getattr(life, name) for name in ("attempts", "attempts_before", "suspects", "absences", "epoch")}


def _lives(script: Script) -> Iterator[tuple[Outcome, datetime, Life]]:
    """Live through a script; the pauses between its tries are those that the transitions ask for."""
    now = _SEEN if script.early else _ELIGIBLE
    life = transition(
        None,
        Fact(Outcome.DISCOVERED, execution_ended=not script.early, ended_at=None if script.early else _ENDED),
        now,
        _POLICY,
        _KEY,
    )
    yield Outcome.DISCOVERED, now, life
    if script.tries is None:
        return
    if script.early:
        life = transition(life, Fact(Outcome.ENDED, ended_at=_ENDED), _ELIGIBLE, _POLICY, _KEY)
        yield Outcome.ENDED, _ELIGIBLE, life
    now = _ELIGIBLE
    for outcome in script.tries:
        pause = timedelta(days=1) if outcome is Outcome.ABSENT else timedelta(seconds=40)
        due = max(now, life.next_attempt_at or now)
        now = due + (pause if outcome is not Outcome.DESCRIBED else timedelta())
        life = transition(life, Fact(outcome), now, _POLICY, _KEY)
        yield outcome, now, life


def _since(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _ELIGIBLE) // _MICROSECOND
