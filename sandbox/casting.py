"""Dealing scenarios, times, ids and sizes out to the executions of a world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

from sandbox.days import Calendar
from sandbox.executions import Execution, Recording
from sandbox.media import MediaPlan
from sandbox.options import WorldOptions
from sandbox.plan import ProviderPlan
from sandbox.scenarios import ENDED_JUST_NOW, ENDS_LATE, Drift, FinalState, Leg, Scenario, final_states
from sandbox.seeds import generator
from sandbox.sizes import spread_sizes

_JUST_NOW = timedelta(seconds=20)


class Casting:
    """The casting of one world."""

    def __init__(self, options: WorldOptions, anchor: datetime, calendar: Calendar) -> None:
        self._options = options
        self._anchor = anchor
        self._calendar = calendar
        self._late = anchor + timedelta(seconds=options.late_seconds)
        purge = options.late_seconds if options.purge_seconds is None else options.purge_seconds
        self._purge = anchor + timedelta(seconds=purge)

    def build(self, plans: Sequence[ProviderPlan]) -> dict[str, list[Execution]]:
        """Return the executions of each provider, in the order of the plan."""
        total_share = sum(plan.share for plan in plans)
        cast: dict[str, list[list[Scenario]]] = {}
        left = self._options.recordings
        for plan in plans:
            count = round(left * plan.share / total_share)
            left -= count
            total_share -= plan.share
            cast[plan.name] = self._cast(plan, count)
        stored = [
            (name, number, place)
            for name, stories in cast.items()
            for number, legs in enumerate(stories)
            for place, scenario in enumerate(legs)
            if FinalState.ARCHIVED in final_states(scenario)
        ]
        sizes = dict(zip(stored, spread_sizes(self._options, len(stored)), strict=True))
        return {
            plan.name: [self._execution(plan, number, legs, sizes) for number, legs in enumerate(cast[plan.name])]
            for plan in plans
        }

    def _cast(self, plan: ProviderPlan, count: int) -> list[list[Scenario]]:
        """Return the scenarios of the legs of each execution, ``count`` legs in all."""
        rng = generator(self._options.seed, plan.name, "cast")
        usual, weights = list(plan.usual), list(plan.usual.values())
        must = () if self._options.calm else plan.must
        stories: list[list[Scenario]] = []
        left = count
        while left > 0:
            scenario = must[len(stories)] if len(stories) < len(must) else rng.choices(usual, weights)[0]
            if self._options.calm:
                scenario = Scenario.READY
            legs = _legs(scenario)[:left]
            stories.append(legs)
            left -= len(legs)
        return stories

    def _execution(
        self, plan: ProviderPlan, number: int, legs: list[Scenario], sizes: Mapping[tuple[str, int, int], int]
    ) -> Execution:
        rng = generator(self._options.seed, plan.name, number)
        scenario = legs[0] if len(legs) == 1 else Scenario.SUPERVISOR
        drift = self._drift(plan, number, scenario)
        created_at = self._calendar.creation(rng, number, scenario, at_midnight=drift is Drift.MIDNIGHT)
        execution_id = plan.new_id(rng, created_at)
        recordings = tuple(
            Recording(
                plan.name,
                execution_id,
                leg,
                told,
                self._media(plan, rng, execution_id, leg, sizes.get((plan.name, number, place))),
            )
            for place, (leg, told) in enumerate(zip(Leg, legs, strict=False))
        )
        ended_at = self._end(plan, rng, scenario, created_at, recordings)
        return Execution(
            provider=plan.name,
            execution_id=execution_id,
            number=number,
            scenario=scenario,
            drift=drift,
            created_at=created_at,
            visible_at=self._late if scenario is Scenario.LATE_ROW else None,
            ended_at=ended_at,
            ready_at=self._ready(scenario, ended_at),
            purged_at=self._purged(scenario, created_at),
            recordings=recordings,
        )

    def _drift(self, plan: ProviderPlan, number: int, scenario: Scenario) -> Drift:
        if self._options.calm or scenario is not Scenario.READY or not plan.drifts:
            return Drift.NONE
        place = number - len(plan.must)
        return plan.drifts[place % len(plan.drifts)] if place >= 0 else Drift.NONE

    def _media(self, plan: ProviderPlan, rng: Random, execution_id: str, leg: Leg, size: int | None) -> MediaPlan | None:
        container = rng.choices(list(plan.containers), list(plan.containers.values()))[0]
        if size is None:
            return None
        return MediaPlan(container, size, f"{self._options.seed}/{plan.name}/{execution_id}/{leg}")

    def _end(
        self,
        plan: ProviderPlan,
        rng: Random,
        scenario: Scenario,
        created_at: datetime,
        recordings: tuple[Recording, ...],
    ) -> datetime | None:
        if scenario in ENDS_LATE:
            return self._late
        if scenario is Scenario.NEVER_ENDS:
            return None
        if scenario in ENDED_JUST_NOW and created_at < self._anchor - _JUST_NOW:
            return self._anchor - _JUST_NOW
        media = recordings[0].media
        if plan.run_seconds is None and media is not None:
            seconds = media.nominal_seconds
        else:
            seconds = rng.uniform(*(plan.run_seconds or (5, 40)))
        return created_at + min(timedelta(seconds=round(seconds, 1)), (self._anchor - created_at) * 0.8)

    def _ready(self, scenario: Scenario, ended_at: datetime | None) -> datetime | None:
        if scenario in {Scenario.NEVER_READY, Scenario.ABSENT, Scenario.PURGED}:
            return None
        return self._late if scenario is Scenario.NOT_READY_SECONDS else ended_at

    def _purged(self, scenario: Scenario, created_at: datetime) -> datetime | None:
        if scenario is Scenario.PURGED:
            return created_at + (self._anchor - created_at) * 0.9
        return self._purge if scenario is Scenario.PURGED_LATER else None


def _legs(scenario: Scenario) -> list[Scenario]:
    if scenario is Scenario.SUPERVISOR:
        return [Scenario.READY, Scenario.SUPERVISOR]
    if scenario is Scenario.SUPERVISOR_ABSENT:
        return [Scenario.READY, Scenario.ABSENT]
    return [scenario]
