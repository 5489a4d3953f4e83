"""What a day of many executions takes in memory: ``python -m tests.executions.large_day ROWS FOLDER``, a process of its own.

The bounds are set far lower than in production, so that a day that is many times as large as they are is still read in seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import assets.executions.decode
import assets.executions.former
import assets.executions.ingest
from assets.executions import lake, sorting
from assets.executions.ingest import ingest
from assets.executions.spool import Spool
from resources.model import ExecutionRecord, Window
from resources.providers.protocol import Page
from resources.storage import open_storage
from tests.executions.specimen import DAY, NOON, SPEC, StubProvider

MIB = 1024 * 1024
PAGE = 100


class Many(StubProvider):
    """A provider that makes its executions up while they are asked for, newest first; every tenth differs with ``word``."""

    rows: int = 0
    word: str = "done"

    def find(self, window: Window) -> Iterator[Page]:
        """Yield them by page."""
        for start in range(0, self.rows, PAGE):
            yield Page(tuple(self.record(window.end, number) for number in range(start, min(start + PAGE, self.rows))))

    def record(self, end: datetime, number: int) -> ExecutionRecord:
        """Return one execution of about a kilobyte."""
        created_at = end - timedelta(seconds=1 + number * 86_000 / self.rows)
        fields = {
            "id": f"e{number:07d}",
            "status": self.word if number % 10 == 0 else "done",
            "createdAt": created_at.isoformat(),
        }
        text = json.dumps(fields | {"inputs": {"text": f"{number} " * 160}}, separators=(",", ":"))
        return ExecutionRecord(str(fields["id"]), created_at, text.encode())


def peak() -> float:
    """Return the most memory that this process has had, in MiB; what it was forked from does not count."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def main(rows: int, folder: str) -> None:
    """Read a day twice, and print what it took beyond a day of few executions."""
    sorting.SLICE_BYTES = lake._MEMORY_BYTES = 2 * MIB
    sorting._SPOOL_BYTES = lake.ROW_GROUP_BYTES = assets.executions.decode.BLOCK_BYTES = MIB
    assets.executions.former._WHOLE_BYTES = 0
    assets.executions.ingest.Spool = lambda kind: Spool(kind, MIB)  # type: ignore[assignment, misc]
    provider = Many()
    told: list[int] = []

    def read(name: str, hour: int) -> None:
        now = NOON + timedelta(hours=hour)
        storage = open_storage(f"{folder}/{name}")
        report = ingest(provider, SPEC, storage, [DAY], now=now, before_write=lambda _, expected: told.append(len(expected)))
        assert [day.rows for day in report.days] == [provider.rows]

    provider.rows = 500
    for hour in range(2):
        read("small", hour)
    before = peak()
    provider.rows = rows
    read("large", 0)
    provider.word = "other"
    read("large", 1)
    sys.stdout.write(json.dumps({"mebibytes": peak() - before, "most_told_at_once": max(told)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
