"""How long a provider says that a recording plays: the truth, except where the scenario is that it is not."""

from __future__ import annotations

from functools import cache

from sandbox.containers import body_of
from sandbox.executions import Execution
from sandbox.media import Container, MediaPlan
from sandbox.scenarios import Scenario

_VIDEOS = frozenset({Container.MP4, Container.WEBM})
_TOO_SHORT_FOR_A_VIDEO = 2.0


def told_seconds(execution: Execution) -> float | None:
    """Return the length of an ended execution as its provider tells it; None where it has no end.

    A call lasts as long as the recording of its main leg plays. A run lasts at least as long as its video.
    """
    if execution.ended_at is None:
        return None
    ran = (execution.ended_at - execution.created_at).total_seconds()
    media = execution.recordings[0].media
    if media is None:
        return round(ran, 1)
    plays, wrong = _seconds_of(media), execution.scenario is Scenario.WRONG_LENGTH
    if media.container in _VIDEOS:
        return _TOO_SHORT_FOR_A_VIDEO if wrong else max(ran, plays)
    return round(2 * plays + 30 if wrong else plays, 1)


@cache
def _seconds_of(plan: MediaPlan) -> float:
    return body_of(plan).seconds
