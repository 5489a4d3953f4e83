"""The providers: one file each, one line here."""

from __future__ import annotations

from sandbox.routes.asteroid import Asteroid
from sandbox.routes.feather import Feather
from sandbox.routes.kataven import Kataven
from sandbox.service import ProviderService

PROVIDERS: tuple[type[ProviderService], ...] = (
    Asteroid,
    Feather,
    Kataven,
)
