"""An order to make one copy of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from resources.model import RecordingKey


@dataclass(frozen=True, slots=True)
class Errand:
    """Which copy to make, and what its sidecar says of the making.

    Attributes:
        key, day: which recording, and its partition.
        run_id: of the run that makes it.
        attempts: how many tries it took so far, without this one.
        number: of the copy; more than 1 for one that replaces a damaged copy.
        expected_seconds: how long it should play by the provider's account, if there is one.
    """

    key: RecordingKey
    day: date
    run_id: str
    attempts: int
    number: int = 1
    expected_seconds: float | None = None
