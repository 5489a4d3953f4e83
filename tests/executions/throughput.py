"""Rows per CPU-second of the metadata path, on made-up Asteroid rows: ``.venv/bin/python -m tests.executions.throughput``."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

from msgspec.structs import replace

from assets.executions.decode import decode
from assets.executions.ingest import IngestReport, ingest
from assets.executions.intake import Row, strict
from assets.executions.merge import merge
from resources.model import ExecutionRecord, Window
from resources.providers.asteroid import SPEC
from resources.providers.protocol import Page
from resources.redaction import redact_json
from resources.storage import open_storage
from tests.executions.specimen import DAY, NOON, StubProvider

ROWS = 20_000
PAGE = 100


def raw(number: int, status: str = "completed", version: float = 3) -> bytes:
    """Return one execution as Asteroid sends it, about 1.2 kB."""
    ident = str(UUID(int=number))
    fields = {
        "id": ident,
        "agentId": ident,
        "agentName": "Invoice bot",
        "workflowId": ident,
        "workflowVersionId": ident,
        "workflowVersion": version,
        "status": status,
        "createdAt": f"2026-11-20T10:{number % 60:02d}:00.123Z",
        "startedAt": "2026-11-20T11:00:00.5Z",
        "terminalAt": "2026-11-20T11:10:00Z",
        "organizationId": ident,
        "humanLabels": [{"id": ident, "name": "good", "color": "#ffffff"}],
        "comments": [{"id": ident, "content": "hello " * 10, "createdAt": "2026-11-20T11:00:00Z", "public": True}],
        "hasBeenRerun": False,
        "duration": 12.5 + number,
        "executionOptions": {"sharedStorageKey": "k"},
        "executionResult": {"outcome": "success", "reasoning": "because " * 20, "result": {"a": number, "b": ["x", "y"]}},
        "inputs": {"name": "Foo", "url": "https://shop.example/x?y=1"},
        "metadata": {"tenant": "t1"},
        "recordingUrl": "https://media.example/x.mp4?X-Amz-Signature=c0ffee",
        "triggerContext": {"source": "api", "runner": "u"},
        "newField": {"x": 1},
    }
    return json.dumps(fields, separators=(",", ":")).encode()


class Canned(StubProvider):
    """A provider that has its answers ready."""

    records: tuple[ExecutionRecord, ...] = ()

    def find(self, window: Window) -> Iterator[Page]:
        """Yield them all, whatever the window."""
        del window
        for start in range(0, len(self.records), PAGE):
            yield Page(self.records[start : start + PAGE])


def measure(name: str, work: Callable[[], object]) -> None:
    """Print the speed of ``work`` over all rows."""
    begun = time.process_time()
    work()
    sys.stdout.write(f"{name:32s}{ROWS / (time.process_time() - begun):10,.0f} rows per CPU-second\n")


def main() -> None:
    """Measure each step, then the whole."""
    raws = [raw(number) for number in range(ROWS)]
    clean = [Row(str(n), NOON, redact_json(strict(text).text.encode()).decode(), NOON, NOON) for n, text in enumerate(raws)]
    decode(SPEC, clean[:10], DAY)  # loads what is loaded once
    known = {row.execution_id: row for row in clean}
    measure("strict", lambda: [strict(text) for text in raws])
    measure("redact", lambda: [redact_json(text) for text in raws])
    measure("decode, clean", lambda: decode(SPEC, clean, DAY))
    for share, every in (("1 in 100", 100), ("all", 1)):
        drifted = [replace(row, raw=raw(n, version=1.5).decode()) if n % every == 0 else row for n, row in enumerate(clean)]
        measure(f"decode, {share} with 1.5", lambda rows=drifted: decode(SPEC, rows, DAY))
    measure("merge, nothing new", lambda: merge(SPEC, known, clean))
    measure("merge, all changed", lambda: merge(SPEC, known, [replace(row, raw=row.raw.replace("ed", "ing")) for row in clean]))
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(folder)
        for hour, (name, changed) in enumerate((("first", 0), ("again", 0), ("again, 1 in 100 changed", 100))):
            provider = Canned()
            provider.records = tuple(
                ExecutionRecord(str(n), NOON, raw(n, "failed") if changed and n % changed == 0 else text)
                for n, text in enumerate(raws)
            )

            def read(provider: Canned = provider, hour: int = hour) -> IngestReport:
                now = NOON + timedelta(hours=hour)
                return ingest(provider, SPEC, storage, [DAY], now=now, before_write=lambda _day, _expected: None)

            measure(f"ingest, {name}", read)


if __name__ == "__main__":
    main()
