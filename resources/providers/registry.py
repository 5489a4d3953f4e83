"""The providers that the archive knows. A new one is one line here."""

from __future__ import annotations

from resources.providers import asteroid, feather, kataven
from resources.providers.protocol import ProviderSpec

PROVIDERS: dict[str, ProviderSpec] = {spec.name: spec for spec in (asteroid.SPEC, feather.SPEC, kataven.SPEC)}
