"""How large the recordings are: most between 100 kB and 5 MB, with a total that was asked for."""

from __future__ import annotations

from sandbox.options import WorldOptions
from sandbox.seeds import generator

MIB = 1024 * 1024
LEAST_BYTES = 8 * 1024
_USUAL_MOST_BYTES = 5_000_000
_MOST_OVER_MEAN = 6
_SIGMA = 0.8
_ROUNDS = 60


def spread_sizes(options: WorldOptions, count: int) -> list[int]:
    """Return ``count`` sizes in bytes whose sum is at least ``options.megabytes`` MiB."""
    if not count:
        return []
    rng = generator(options.seed, "sizes")
    target = options.megabytes * MIB
    most = max(_USUAL_MOST_BYTES, _MOST_OVER_MEAN * target / count)
    weights = [rng.lognormvariate(0, _SIGMA) for _ in range(count)]
    scale = target / sum(weights)
    for _ in range(_ROUNDS):
        total = sum(min(most, max(LEAST_BYTES, weight * scale)) for weight in weights)
        if total >= target:
            break
        scale *= 1.001 * target / total
    return [int(min(most, max(LEAST_BYTES, weight * scale))) + 1 for weight in weights]
