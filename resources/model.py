"""The words of the domain as types: provider day, execution, leg, recording, link."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import msgspec


class Leg(StrEnum):
    """Which recording of an execution: ``main``, or ``supervisor`` (Feather's warm transfer)."""

    MAIN = "main"
    SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True, order=True)
class RecordingKey:
    """The identity of a recording: (provider, execution_id, leg)."""

    provider: str
    execution_id: str
    leg: Leg

    def __str__(self) -> str:
        return f"{self.provider}/{self.execution_id}/{self.leg}"


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span of creation times, ``start <= created_at < end``, both UTC and timezone-aware."""

    start: datetime
    end: datetime

    @classmethod
    def of_days(cls, first: date, last: date) -> Window:
        """Return the window of the UTC days ``first`` to ``last``, both included."""
        start = datetime(first.year, first.month, first.day, tzinfo=UTC)
        return cls(start, datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1))

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


class ExecutionRecord(msgspec.Struct, frozen=True, gc=False):
    """One execution as a provider described it in one answer.

    Attributes:
        execution_id: the provider's id, verbatim; never a path.
        created_at: UTC; its day is the partition.
        raw: the JSON object as the provider sent it, byte for byte (query strings still in it: redact before writing).
    """

    execution_id: str
    created_at: datetime
    raw: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """A fresh presigned URL. A secret: its repr hides it, and it is never written anywhere.

    Attributes:
        url: the presigned URL.
        expires_at: UTC time at which it lapses, or None when the provider does not say.
    """

    url: str = field(repr=False)
    expires_at: datetime | None
