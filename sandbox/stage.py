"""What the provider routes and the media host share: the world, the faults, the counts, the keys and the links."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sandbox.chaos import Chaos, HangUp
from sandbox.executions import Recording
from sandbox.faults import Fault, FaultBoard
from sandbox.plan import ProviderPlan
from sandbox.scenarios import Scenario
from sandbox.seeds import generator, seeded_token
from sandbox.signatures import Signer
from sandbox.tally import Tally
from sandbox.world import World

PRIVATE_ORIGIN = "http://169.254.169.254"


@dataclass(frozen=True, slots=True)
class IssuedLink:
    """A presigned URL and its life."""

    url: str
    expires_at: datetime
    lifetime: int


class Stage:
    """Everything that one running sandbox knows."""

    def __init__(self, world: World, plans: Iterable[ProviderPlan]) -> None:
        self.world = world
        self.plans = {plan.name: plan for plan in plans}
        self.faults = FaultBoard(self.plans)
        self.tally = Tally()
        self.chaos = Chaos(self.faults, self.tally)
        self.hang_up: HangUp = lambda _: None
        """Resets a connection; the server that has it gives this."""
        rng = generator(world.options.seed, "keys")
        self.keys = {
            name: world.options.keys.get(name) or plan.key_prefix + seeded_token(rng) for name, plan in self.plans.items()
        }
        self.signer = Signer("ASIA" + seeded_token(rng, 16).upper(), seeded_token(rng, 40))
        self.extra_secrets: list[str] = []
        self.media_origin = ""

    def now(self) -> datetime:
        """Return the clock's time, by which links live."""
        return self.world.clock()

    def link(self, recording: Recording) -> IssuedLink:
        """Sign a link for somebody who asked for it: with the faults and scenarios that concern links."""
        counts = self.tally.of(recording.key)
        counts.links_issued += 1
        first = counts.links_issued == 1 and recording.scenario is Scenario.LINK_EXPIRED
        lifetime = 0 if first or self.faults.has(Fault.LINK_EXPIRED) else self._lifetime(recording.provider)
        origin = PRIVATE_ORIGIN if self.faults.has(Fault.MEDIA_PRIVATE) else self.media_origin
        return self._issue(origin, recording.path, lifetime)

    def embedded_link(self, recording: Recording) -> str:
        """Sign a link that hides in metadata."""
        return self._issue(self.media_origin, recording.path, self._lifetime(recording.provider)).url

    def secrets(self) -> dict[str, list[str]]:
        """Return every API key and every signature issued so far."""
        return {"keys": [*self.keys.values(), *self.extra_secrets], "signatures": list(self.signer.issued)}

    def _lifetime(self, provider: str) -> int:
        options = self.world.options
        return math.ceil(options.link_seconds.get(provider, self.plans[provider].link_seconds))

    def _issue(self, origin: str, path: str, lifetime: int) -> IssuedLink:
        now = self.now()
        url = self.signer.presign(origin, path, now=now, lifetime=lifetime)
        lapses_at = now.replace(microsecond=0) + timedelta(seconds=lifetime)
        return IssuedLink(url, lapses_at, lifetime)
