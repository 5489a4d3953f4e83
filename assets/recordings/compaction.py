"""Folding and compacting the ledger of one provider: few files, and what newer ones have replaced out of the way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta

from assets.recordings import names
from assets.recordings.ledger import FoldReport, Ledger, places
from assets.recordings.ledger.months import SETTLED
from assets.recordings.ledger.reading import by_day
from assets.recordings.manifest import publish_manifests


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did.

    Attributes:
        provider: whose ledger.
        days: whose events were compacted now.
        rows: events in the files that were written.
        files_before: of events and states, before.
        files_after: the same afterwards; replaced ones stay for the grace period.
        removed: files that were removed.
        left: path and words of files that stay as they are, because they are not what a writer wrote.
        months: whose states became one file, by their first days.
    """

    provider: str
    days: tuple[date, ...]
    rows: int
    files_before: int
    files_after: int
    removed: int
    left: tuple[tuple[str, str], ...] = field(default=())
    months: tuple[date, ...] = ()


def fold(ledger: Ledger, provider: str) -> FoldReport:
    """Fold the tail of one provider, with the manifests of its days written before.

    A run that was killed before its manifest left one that does not know its last recordings. It is written before the fold: a
    file that was folded, and that no manifest knows, is one whose line was removed.

    Where somebody has deleted a file of the current snapshot itself, everything is made again first.

    Raises:
        StorageError: the root failed, or an event file is damaged; days that were folded before stay so.
    """
    if not ledger.is_whole(provider):
        ledger.mend(provider)
    known = ledger.tail_days(provider)
    publish_manifests(ledger, provider, known)
    done = ledger.fold(provider)
    publish_manifests(ledger, provider, set(done.days) - known)
    return done


def compact(
    ledger: Ledger, provider: str, *, grace: timedelta, shown: int | None, settled: timedelta = SETTLED
) -> CompactionReport:
    """Compact what was folded, and remove what was replaced long ago. Safe to kill, to run again, and beside everything else.

    States that somebody has deleted are made again first.

    Args:
        ledger: of the archive.
        provider: whose part.
        grace: for how long readers may still be on a replaced file.
        shown: the generation that the published catalog shows: files that it names stay; None where there is no catalog.
        settled: how long before the newest day a month has to have ended for its states to become one file.

    Raises:
        StorageError: the root failed; what was done before stays done.
    """
    states = {part.state for part in ledger.partitions(provider).values()}
    listed = _files(ledger, provider)
    if not states.issubset(listed):
        ledger.mend(provider)
    before = len(listed)
    packed = ledger.pack(provider)
    publish_manifests(ledger, provider, packed.days)

    def let_go(paths: Collection[str]) -> None:
        leaving = by_day(paths)
        publish_manifests(ledger, provider, leaving, leaving=leaving)

    removed = ledger.retire(provider, grace=grace, shown=shown, before_delete=let_go)
    months = ledger.pack_months(provider, settled)  # last: a damaged state, which it names, is no reason to leave the rest
    after = len(_files(ledger, provider))
    return CompactionReport(provider, tuple(packed.days), packed.rows, before, after, removed, tuple(packed.left), tuple(months))


def _files(ledger: Ledger, provider: str) -> set[str]:
    """Return the files of events and states that are there."""
    trees = (names.TAIL, names.EVENTS, names.STATES)
    listed = (info.path for tree in trees for info in ledger.storage.list(f"{tree}/provider={provider}"))
    return {path for path in listed if places.is_events(path) or places.is_derived(path)}
