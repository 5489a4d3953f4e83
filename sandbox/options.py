"""What a world is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime


class OptionError(ValueError):
    """An option of the sandbox is wrong. The message names it and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOptions:
    """Everything that decides a world: equal options, with an anchor, give the same truth.

    Attributes:
        seed: names the world.
        days: how many UTC days it covers.
        end_date: the last of them; None means the day of the anchor.
        recordings: how many recordings there are, all providers together, those that are absent included. From about 50 on
            every scenario is there.
        megabytes: least total size (MiB) of the recordings that can be archived.
        anchor: the moment at which the world starts; None means the clock's. Nothing is created after it.
        continued: the anchor is when this world first started, and it has gone on since then (a sandbox started again).
        late_seconds: after how many seconds the late things happen (a run ends, a row appears, a recording is ready).
        purge_seconds: after how many seconds the late purge happens; None means ``late_seconds``.
        not_ready_asks: how many asks are answered "not ready" (or "not configured") where a scenario counts asks.
        server_errors: how many asks in a row are answered 500 where a scenario has a burst.
        retry_after_seconds: the Retry-After of a 429.
        calm: every recording is ready at once, and no row drifts: a world for benchmarks.
        link_seconds: provider name to lifetime of its presigned URLs, over the providers' defaults.
        keys: provider name to API key, over the seeded ones.
    """

    seed: int = 7
    days: int = 3
    end_date: date | None = None
    recordings: int = 160
    megabytes: float = 200.0
    anchor: datetime | None = None
    continued: bool = False
    late_seconds: float = 4.0
    purge_seconds: float | None = None
    not_ready_asks: int = 2
    server_errors: int = 2
    retry_after_seconds: int = 1
    calm: bool = False
    link_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    keys: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.days < 1 or self.recordings < 1:
            msg = f"days and recordings must be at least 1, not {self.days} and {self.recordings}"
            raise OptionError(msg)
        if self.anchor is not None and self.anchor.tzinfo is None:
            msg = f"anchor needs a time zone, e.g. {self.anchor.isoformat()}Z"
            raise OptionError(msg)
