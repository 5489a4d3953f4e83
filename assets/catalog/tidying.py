"""Keeping what is read quick: everything is folded and compacted, and what was replaced long ago goes.

The files that the published catalog names stay, however old: who has it open goes on reading them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from assets.catalog.facts import named_files
from assets.catalog.publication import shown_generations
from assets.executions import compaction as executions
from assets.recordings import compaction as recordings
from assets.recordings.ledger import FoldReport, Ledger
from resources.providers.protocol import ProviderSpec
from resources.storage import ArchiveStorage


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was done to one provider's part of the lake."""

    fold: FoldReport
    ledger: recordings.CompactionReport
    executions: executions.CompactionReport

    @property
    def files_before(self) -> int:
        """Files of events, states and executions, before."""
        return self.ledger.files_before + self.executions.files_before

    @property
    def files_after(self) -> int:
        """The same afterwards; replaced ones stay for the grace period."""
        return self.ledger.files_after + self.executions.files_after

    @property
    def rows(self) -> int:
        """Rows in the files that were written."""
        return self.ledger.rows + self.executions.rows

    @property
    def removed(self) -> int:
        """Replaced files that were removed."""
        return self.ledger.removed + self.executions.removed

    @property
    def months(self) -> int:
        """Months whose states became one file."""
        return len(self.ledger.months)

    @property
    def left(self) -> tuple[tuple[str, str], ...]:
        """Path and words of files that a person should look at."""
        return self.ledger.left


def tidy_up(storage: ArchiveStorage, specs: Iterable[ProviderSpec], grace: timedelta) -> dict[str, Tidied]:
    """Fold and compact everything, and say by provider what was done. Safe to kill, to run again, and beside everything else.

    Args:
        storage: the archive root.
        specs: the providers.
        grace: for how long a replaced file stays for who is reading it.

    Raises:
        StorageError: the root failed; what was done before stays done.
    """
    ledger, shown, keep = Ledger(storage), shown_generations(storage), named_files(storage)
    return {
        spec.name: Tidied(
            recordings.fold(ledger, spec.name),
            recordings.compact(ledger, spec.name, grace=grace, shown=shown.get(spec.name)),
            executions.compact(storage, spec, grace=grace, keep=keep),
        )
        for spec in specs
    }
