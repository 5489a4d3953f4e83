"""What a provider brings to the building of a world: its share, its stories and its ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random

from sandbox.media import Container
from sandbox.scenarios import Drift, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPlan:
    """The part of a world that belongs to one provider.

    Attributes:
        name: the provider's name, in lower case.
        key_prefix: how its API keys begin.
        link_seconds: lifetime of its presigned URLs.
        share: its weight in the number of recordings.
        must: scenarios that are present once each, the most telling first.
        usual: weights of the scenarios of all other executions.
        drifts: departures of the metadata, dealt out in turn to the executions that are ready.
        containers: weights of the file formats.
        new_id: makes an execution id from a generator and the time of creation.
        run_seconds: shortest and longest run; None means that a run lasts as long as its recording plays.
    """

    name: str
    key_prefix: str
    link_seconds: float
    share: float
    must: tuple[Scenario, ...]
    usual: Mapping[Scenario, float]
    drifts: tuple[Drift, ...]
    containers: Mapping[Container, float]
    new_id: Callable[[Random, datetime], str]
    run_seconds: tuple[float, float] | None = None
