"""What a run tells of its days when it is over: counted a day at a time, since a range may hold millions of recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import date

from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import NOT_ATTEMPTS, Outcome
from pipelines.cli.output import STATES


def counts(ledger: Ledger, provider: str, days: Iterable[date]) -> dict[str, int]:
    """Return how many recordings of ``days`` are in each state, and how many ``bytes`` their copies have.

    Raises:
        StorageError: the ledger cannot be read.
    """
    states, stored = Counter[str](), 0
    for day in days:
        for state, size in ledger.read_columns(provider, day, ("state", "bytes")):
            states[state] += 1
            stored += size or 0
    return {**{state: states[state] for state in STATES}, "bytes": stored}


def unreached(ledger: Ledger, provider: str, days: Iterable[date], runs: Collection[str]) -> str | None:
    """Say that ``runs`` got no usable answer for any recording of ``days`` that they asked for: waiting alone will not mend that.

    Returns:
        The message, with the detail of the first of them; None where one answer was of use, or nothing was asked for.

    Raises:
        StorageError: the ledger cannot be read.
    """
    tried, first = 0, ""
    for day in days:
        for run_id, outcome, detail in ledger.read_columns(provider, day, ("run_id", "outcome", "detail")):
            if run_id not in runs or outcome in NOT_ATTEMPTS:
                continue
            if outcome != Outcome.TRANSIENT:
                return None
            tried, first = tried + 1, first if tried else detail or ""
    return f"{provider}: all {tried} recordings failed, and are tried again later. {first}" if tried else None
