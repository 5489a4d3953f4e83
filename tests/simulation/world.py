"""One random world: its executions, its weather, and what is true of them."""

from __future__ import annotations

import errno
import hashlib
import io
import wave
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import TypeVar

from resources.model import Leg, RecordingKey
from tests.simulation.scheduler import START, Clock

PROVIDERS = ("asteroid", "feather", "kataven")
DAYS = 2
KATAVEN_RATES = ((6, 60.0), (18, 3600.0), (150, 86_400.0))
KATAVEN_RATES_TEXT = "6/minute,18/hour,150/day"
LINK_SECONDS = 300.0
_HOUR = 3600.0
_DAY = 86_400.0


class ApiFault(StrEnum):
    """How a call to a provider's API fails."""

    RESET = "reset"
    STALL = "stall"
    RATE_LIMIT = "429"
    SERVER_ERROR = "500"
    UNAVAILABLE = "502"
    ERROR_PAGE = "error page"
    HALF_JSON = "half of the JSON"


class MediaFault(StrEnum):
    """How a call to a media host fails."""

    RESET = "reset"
    CUT = "cut in the body"
    SLOW = "slow body"
    SERVER_ERROR = "500"
    RATE_LIMIT = "429"
    ERROR_PAGE = "error page"
    EXPIRED = "expired"
    SHORT = "ends early in good order"


_Kind = TypeVar("_Kind", ApiFault, MediaFault)


class RangeManner(StrEnum):
    """What a media host makes of a range."""

    GOOD = "206"
    WHOLE = "200"
    NO_VALIDATOR = "no validator"
    OVERLAP = "overlap"
    OTHER_BYTES = "the same ETag for other bytes"


@dataclass(slots=True)
class Recording:
    """One recording and its truth.

    Attributes:
        key, day: which.
        versions: the bytes that the media host may serve, by the elapsed seconds from which on it does; the first from 0.
        ready_at: elapsed seconds from which on there is a link.
        exists: False where there will never be one.
        purged_at: elapsed seconds from which on it is gone, or None.
    """

    key: RecordingKey
    day: date
    versions: list[tuple[float, bytes]]
    ready_at: float
    exists: bool
    purged_at: float | None

    def body(self, elapsed: float) -> bytes:
        """Return the bytes that are served at ``elapsed``."""
        return [body for since, body in self.versions if since <= elapsed][-1]

    def hashes(self) -> set[str]:
        """Return the SHA-256 of every version."""
        return {hashlib.sha256(body).hexdigest() for _, body in self.versions}

    @property
    def deliverable(self) -> bool:
        """Whether the world gives it to whoever keeps asking."""
        return self.exists and self.purged_at is None


@dataclass(slots=True)
class Execution:
    """One run of an agent; times are elapsed seconds.

    Attributes:
        provider, execution_id: which.
        created_at, appears_at, ended_at: when it was created, when lists begin to show it, when it ended.
        purged_at: when the provider emptied it, or None.
        recordings: by leg.
    """

    provider: str
    execution_id: str
    created_at: float
    appears_at: float
    ended_at: float
    purged_at: float | None
    recordings: dict[Leg, Recording]


@dataclass(slots=True)
class Token:
    """What a presigned URL leads to, and until when."""

    recording: Recording
    expires_at: float


@dataclass(slots=True)
class World:
    """Everything outside the archive.

    Attributes:
        rng: the only chance there is.
        clock: the right time.
        stormy: whether calls fail now.
        api_share, media_share, disk_share: how likely a call of each kind fails in a storm.
        executions: of all providers.
        tokens: the presigned URLs that were handed out.
        jumps: elapsed seconds at which the machine's clock was set.
        calls: elapsed seconds of every API request, by provider.
        faults: how often each fault came.
    """

    rng: Random
    clock: Clock
    providers: tuple[str, ...]
    api_share: float
    media_share: float
    disk_share: float
    storm_seconds: float
    stormy: bool = True
    executions: list[Execution] = field(default_factory=list[Execution])
    tokens: dict[str, Token] = field(default_factory=dict[str, Token])
    jumps: list[float] = field(default_factory=list[float])
    calls: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: Counter[str] = field(default_factory=Counter[str])
    requests: Counter[str] = field(default_factory=Counter[str])

    # -- the weather

    def api_fault(self) -> ApiFault | None:
        """Return how this API call fails, or None."""
        return self._note("api", self.rng.choice(list(ApiFault)) if self._strikes(self.api_share) else None)

    def media_fault(self) -> MediaFault | None:
        """Return how this media call fails, or None."""
        return self._note("media", self.rng.choice(list(MediaFault)) if self._strikes(self.media_share) else None)

    def range_manner(self) -> RangeManner:
        """Return what the media host makes of a range this time."""
        if not self._strikes(0.7):
            return RangeManner.GOOD
        manner = self.rng.choice(list(RangeManner))
        if manner is not RangeManner.GOOD:
            self.faults[f"range: {manner}"] += 1
        return manner

    def disk_fault(self) -> int | None:
        """Return the errno with which this disk call fails, or None."""
        if not self._strikes(self.disk_share):
            return None
        code = self.rng.choice((errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS))
        self.faults[f"disk: {errno.errorcode[code]}"] += 1
        return code

    def moment(self) -> datetime:
        """Return the time of the archive's machine."""
        return self.clock.wall()

    def _strikes(self, share: float) -> bool:
        return self.stormy and share > 0 and self.rng.random() < share

    def _note(self, where: str, fault: _Kind | None) -> _Kind | None:
        if fault is not None:
            self.faults[f"{where}: {fault}"] += 1
        return fault

    # -- the truth

    def visible(self, provider: str) -> list[Execution]:
        """Return the executions that a list shows now, oldest first."""
        shown = [each for each in self.executions if each.provider == provider and each.appears_at <= self.clock.elapsed]
        return sorted(shown, key=lambda each: (each.created_at, each.execution_id))

    def find(self, provider: str, execution_id: str) -> Execution | None:
        """Return an execution, if the provider knows it now."""
        return next((each for each in self.visible(provider) if each.execution_id == execution_id), None)

    def recordings(self) -> dict[RecordingKey, Recording]:
        """Return all recordings, those that never exist included."""
        return {recording.key: recording for each in self.executions for recording in each.recordings.values()}

    def new_link(self, recording: Recording) -> tuple[str, float]:
        """Return a presigned URL and the elapsed seconds at which it lapses."""
        token = f"{self.rng.getrandbits(64):016x}"
        expires_at = self.clock.elapsed + LINK_SECONDS
        self.tokens[token] = Token(recording, expires_at)
        key = recording.key
        return f"https://media.{key.provider}.example/{key.leg}?X-Amz-Signature={token}", expires_at


def make_world(seed: int, rng: Random, clock: Clock) -> World:
    """Return the world of a seed."""
    count = rng.choices((1, 2, 3), (6, 3, 1))[0]
    storm = rng.choices((0.0, 1.0), (1, 9))[0]
    world = World(
        rng=rng,
        clock=clock,
        providers=tuple(sorted(rng.sample(PROVIDERS, count))),
        api_share=storm * rng.choice((0.0, 0.1, 0.3, 0.6)),
        media_share=storm * rng.choice((0.0, 0.3, 0.6, 0.8)),
        disk_share=storm * rng.choice((0.0, 0.0, 0.01, 0.03)),
        storm_seconds=rng.uniform(0.5, 3) * _DAY,
    )
    for provider in world.providers:
        for number in range(rng.randint(1, 5)):
            world.executions.append(_execution(rng, provider, f"{seed}-{number}"))
    return world


def _execution(rng: Random, provider: str, name: str) -> Execution:
    created_at = rng.uniform(0, DAYS * _DAY - 1)
    length = rng.choice((60.0, 600.0, 20 * _HOUR, 40 * _HOUR)) * rng.uniform(0.5, 1)
    ended_at = created_at + length
    late = rng.random() < 0.15
    appears_at = created_at + (rng.uniform(0, 2 * _DAY) if late else 0)
    purged_at = ended_at + rng.uniform(1, 6) * _DAY if rng.random() < 0.15 and provider == "asteroid" else None
    execution_id = _identity(rng, provider, name)
    legs = [Leg.MAIN, Leg.SUPERVISOR] if provider == "feather" and rng.random() < 0.3 else [Leg.MAIN]
    recordings = {
        leg: _recording(rng, RecordingKey(provider, execution_id, leg), created_at, ended_at, purged_at) for leg in legs
    }
    return Execution(provider, execution_id, created_at, appears_at, ended_at, purged_at, recordings)


def _identity(rng: Random, provider: str, name: str) -> str:
    if provider == "asteroid":
        return f"{rng.getrandbits(32):08x}-0000-4000-8000-{rng.getrandbits(48):012x}"
    odd = rng.choice(("", "", "Ä", "%2e%2e", "A", "a" * 200, "con", "\u202e"))
    return f"{odd}{provider}-{name}"


def _recording(rng: Random, key: RecordingKey, created_at: float, ended_at: float, purged_at: float | None) -> Recording:
    day = (START + timedelta(seconds=created_at)).date()
    versions = [(0.0, _body(rng))]
    if rng.random() < 0.1:
        versions.append((ended_at + rng.uniform(0, 2 * _DAY), _body(rng)))
    lag = rng.choice((0.0, 60.0, 3 * _HOUR, 12 * _HOUR)) * rng.random()
    return Recording(key, day, versions, ended_at + lag, exists=rng.random() < 0.9, purged_at=purged_at)


def _body(rng: Random) -> bytes:
    """Return a short sound: media that a reader of its length understands."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(rng.randbytes(rng.choice((80, 900, 4200, 9000))))
    return sink.getvalue()
