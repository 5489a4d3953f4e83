"""Determinism: every choice in the sandbox comes from a generator that is named by its purpose."""

from __future__ import annotations

import random
import uuid
from datetime import datetime

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ULID_TIME_LENGTH = 10
_ULID_RANDOM_LENGTH = 16


def generator(*names: object) -> random.Random:
    """Return the generator that belongs to ``names``: the same names give the same numbers, in any process."""
    return random.Random("/".join(str(name) for name in names))  # noqa: S311  # nothing here is a secret


def seeded_uuid(rng: random.Random) -> str:
    """Return a version 4 UUID drawn from ``rng``."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def seeded_ulid(rng: random.Random, moment: datetime) -> str:
    """Return a ULID (26 characters, Crockford base 32) of ``moment`` with randomness from ``rng``."""
    milliseconds = int(moment.timestamp() * 1000)
    digits = [_CROCKFORD[(milliseconds >> (5 * place)) & 31] for place in reversed(range(_ULID_TIME_LENGTH))]
    return "".join(digits) + "".join(rng.choices(_CROCKFORD, k=_ULID_RANDOM_LENGTH))


def seeded_token(rng: random.Random, length: int = 32) -> str:
    """Return ``length`` letters and digits drawn from ``rng``."""
    return "".join(rng.choices(_ALPHANUMERIC, k=length))
