"""A seeded world: the executions and recordings of all providers, and what is true of each at a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property

from sandbox.casting import Casting
from sandbox.containers import facts_of
from sandbox.days import Calendar
from sandbox.durations import told_seconds
from sandbox.executions import Execution, Recording, timestamp
from sandbox.options import WorldOptions
from sandbox.plan import ProviderPlan
from sandbox.scenarios import Leg, Scenario, final_states

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the real time."""
    return datetime.now(UTC)


class World:
    """All executions and recordings, and the time that flows in them.

    World time starts at the anchor and runs as fast as the clock, so a world with an anchor in the past behaves as it would
    have then. Presigned URLs live by the clock itself, because their users compare them with it.
    """

    def __init__(self, options: WorldOptions, plans: Sequence[ProviderPlan], clock: Clock = utc_now) -> None:
        self.options = options
        self.clock = clock
        self._started_at = clock()
        self.anchor = (options.anchor or self._started_at).astimezone(UTC).replace(microsecond=0)
        if options.continued:
            self._started_at = self.anchor
        self.calendar = Calendar.of(options, self.anchor)
        builder = Casting(options, self.anchor, self.calendar)
        self.executions: dict[str, list[Execution]] = builder.build(plans)
        self._by_id = {
            (execution.provider, execution.execution_id): execution
            for executions in self.executions.values()
            for execution in executions
        }
        self._by_path = {recording.path: recording for recording in self.recordings() if recording.media}

    def now(self) -> datetime:
        """Return the world's time."""
        return self.anchor + (self.clock() - self._started_at)

    def visible(self, provider: str) -> list[Execution]:
        """Return what ``provider`` lists now, the oldest first."""
        now = self.now()
        return [execution for execution in self._oldest_first[provider] if execution.is_visible(now)]

    def find(self, provider: str, execution_id: str) -> Execution | None:
        """Return a visible execution by its id."""
        execution = self._by_id.get((provider, execution_id))
        return execution if execution and execution.is_visible(self.now()) else None

    def recording_at(self, path: str) -> Recording | None:
        """Return the recording whose object is at ``path`` of the media origin now."""
        recording = self._by_path.get(path)
        if recording is None:
            return None
        execution = self._by_id[recording.provider, recording.execution_id]
        return recording if execution.is_ready(self.now()) else None

    def recordings(self) -> Iterator[Recording]:
        """Yield every recording, the absent ones included."""
        for executions in self.executions.values():
            for execution in executions:
                yield from execution.recordings

    def truth(self) -> dict[str, object]:
        """Return what an archive of this world should hold in the end, as JSON-ready values. Makes all media once."""
        everything = [execution for executions in self.executions.values() for execution in executions]
        return {
            "seed": self.options.seed,
            "anchor": timestamp(self.anchor),
            "window": self.calendar.window(),
            "executions": [_execution_truth(execution) for execution in everything],
            "recordings": [
                _recording_truth(recording, execution) for execution in everything for recording in execution.recordings
            ],
        }

    @cached_property
    def _oldest_first(self) -> Mapping[str, list[Execution]]:
        return {
            provider: sorted(executions, key=lambda execution: (execution.created_at, execution.execution_id))
            for provider, executions in self.executions.items()
        }


def _execution_truth(execution: Execution) -> dict[str, object]:
    return {
        "provider": execution.provider,
        "execution_id": execution.execution_id,
        "date": execution.date.isoformat(),
        "created_at": timestamp(execution.created_at),
        "terminal_at_end": execution.ended_at is not None,
    }


def _recording_truth(recording: Recording, execution: Execution) -> dict[str, object]:
    states = final_states(recording.scenario)
    media = recording.media
    facts = facts_of(media) if media else None
    return {
        "provider": recording.provider,
        "execution_id": recording.execution_id,
        "leg": recording.leg,
        "date": execution.date.isoformat(),
        "scenario": recording.scenario,
        "length": facts.length if facts else None,
        "sha256": facts.sha256 if facts else None,
        "content_type": media.container.content_type if media else None,
        "extension": media.container.value if media else None,
        "duration_seconds": round(facts.seconds, 3) if facts else None,
        "told_seconds": told_seconds(execution) if recording.leg is Leg.MAIN else None,
        "flaw": "duration" if recording.scenario is Scenario.WRONG_LENGTH else None,
        "final_state": states[0],
        "final_states": list(states),
    }
