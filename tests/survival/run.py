"""One whole run of a provider, as the assets make it and without Dagster: read, archive, publish, compact.

``python -m tests.survival.run`` takes its settings from the environment, as every run does. The days are the arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date, timedelta
from uuid import uuid4

from assets.catalog.publication import publish, shown_generations
from assets.executions.ingest import ExpectedRecording, ingest
from assets.executions.reads import note_reads
from assets.recordings.archiving import RunMemory, archive_day
from assets.recordings.compaction import compact
from assets.recordings.discovery import discover
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from resources.archive import open_archive, provider_spec
from resources.settings import load_settings

PROVIDER = "feather"


def run(days: Sequence[date]) -> None:
    """Archive ``days``; raises what a run raises."""
    archive = open_archive(load_settings(None))
    spec, run_id, now = provider_spec(PROVIDER), uuid4().hex, archive.runtime.now()
    ledger, policy = Ledger(archive.storage), Policy.from_settings(archive.settings)

    def tell_ledger(day: date, expected: Sequence[ExpectedRecording]) -> None:
        discover(ledger, PROVIDER, day, expected, run_id=run_id, now=now, policy=policy)

    report = ingest(archive.provider(PROVIDER), spec, archive.storage, days, now=now, before_write=tell_ledger)
    if report.error is not None:
        raise report.error
    note_reads(archive.storage, PROVIDER, days, now)
    memory = RunMemory()
    for day in days:
        archive_day(archive, PROVIDER, day, run_id, memory=memory)
    for _ in range(2):  # what the first compaction replaces, the second one removes: the catalog no longer names it
        publish(archive.storage, [spec], now)
        compact(ledger, PROVIDER, grace=timedelta(0), shown=shown_generations(archive.storage).get(PROVIDER))
    archive.close()


if __name__ == "__main__":
    run([date.fromisoformat(day) for day in sys.argv[1:]])
