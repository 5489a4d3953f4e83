"""What was asked of the sandbox, counted."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

RecordingId = tuple[str, str, str]

_SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class RecordingTally:
    """The counts of one recording."""

    link_asks: int = 0
    links_issued: int = 0
    media_gets: int = 0
    media_bytes: int = 0


@dataclass(slots=True)
class ChaosTally:
    """The counts of the fault ``chaos``.

    Attributes:
        calls: by party, those that might have failed.
        failed: by party and way, those that did.
        asked: by party and question, how often it was asked.
    """

    calls: Counter[str] = field(default_factory=Counter[str])
    failed: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    asked: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    def shown(self) -> dict[str, object]:
        """Return the counts by party as JSON-ready values."""
        return {
            party: {"calls": calls, "failed": {way: count for (of, way), count in sorted(self.failed.items()) if of == party}}
            for party, calls in sorted(self.calls.items())
        }


class Tally:
    """Counters by provider, endpoint and status, and by recording."""

    def __init__(self) -> None:
        self.in_flight: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forget every count. Scenarios that go by the number of asks begin again."""
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.recordings: dict[RecordingId, RecordingTally] = {}
        self.in_flight_peak: Counter[str] = Counter()
        self.walks: Counter[tuple[str | None, ...]] = Counter()
        """How often each list was asked for, for pages that shift."""
        self.chaos = ChaosTally()
        self.media_header_leaks = 0
        self.keys_in_urls = 0
        self._recent: dict[str, deque[datetime]] = {}

    def of(self, key: RecordingId) -> RecordingTally:
        """Return the counts of one recording, to read or to raise."""
        return self.recordings.setdefault(key, RecordingTally())

    def link_asks(self, key: RecordingId) -> int:
        """Return how often one recording was asked for."""
        counts = self.recordings.get(key)
        return counts.link_asks if counts else 0

    def enter(self, party: str) -> None:
        """Count a request of ``party`` as begun."""
        self.in_flight[party] += 1
        self.in_flight_peak[party] = max(self.in_flight_peak[party], self.in_flight[party])

    def leave(self, party: str, endpoint: str, status: int) -> None:
        """Count a request of ``party`` as answered."""
        self.in_flight[party] -= 1
        self.answers[party, endpoint, status] += 1

    def too_many(self, party: str, now: datetime, limit: int) -> bool:
        """Tell whether ``party`` had ``limit`` calls in the second before ``now``; counts this one if it had not."""
        recent = self._recent.setdefault(party, deque())
        while recent and now - recent[0] >= _SECOND:
            recent.popleft()
        if len(recent) >= limit:
            return True
        recent.append(now)
        return False

    def shown(self) -> dict[str, object]:
        """Return all counts as JSON-ready values."""
        endpoints: dict[str, dict[str, dict[str, int]]] = {}
        for (party, endpoint, status), count in sorted(self.answers.items()):
            endpoints.setdefault(party, {}).setdefault(endpoint, {})[str(status)] = count
        return {
            "endpoints": endpoints,
            "recordings": [
                {
                    "provider": provider,
                    "execution_id": execution_id,
                    "leg": leg,
                    "link_asks": counts.link_asks,
                    "links_issued": counts.links_issued,
                    "media_gets": counts.media_gets,
                    "media_bytes": counts.media_bytes,
                }
                for (provider, execution_id, leg), counts in self.recordings.items()
            ],
            "chaos": self.chaos.shown(),
            "in_flight_peak": dict(self.in_flight_peak),
            "media_header_leaks": self.media_header_leaks,
            "keys_in_urls": self.keys_in_urls,
        }
