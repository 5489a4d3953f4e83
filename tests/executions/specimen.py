"""A small provider of the tests' own, so that a test shows a rule and not a platform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import pyarrow as pa

from assets.executions.intake import Row, strict
from resources.errors import ArchiveError
from resources.model import ExecutionRecord, Leg, Link, Window
from resources.providers.protocol import Field, Page, Provider, ProviderSpec
from resources.redaction import redact_json

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")

SPEC = ProviderSpec(
    name="specimen",
    title="Specimen",
    view="specimen_runs",
    key_setting="SPECIMEN_API_KEY",
    fields=(
        Field("id", "id", pa.string(), "the id"),
        Field("status", "status", pa.string(), "the state"),
        Field("createdAt", "created", MOMENT, "creation"),
        Field("count", "count", pa.int64(), "a whole number"),
        Field("ratio", "ratio", pa.float64(), "a number"),
        Field("flag", "flag", pa.bool_(), "a truth"),
        Field("tags", "tags", pa.list_(pa.string()), "words"),
        Field("who", "who", pa.struct([("name", pa.string()), ("age", pa.int64())]), "a person"),
        Field("inputs", "inputs", pa.string(), "anything", json=True),
        Field("version", "version", pa.string(), "the newer generation's mark"),
        Field("flow", "flow", pa.string(), "means another thing in each generation"),
        Field("purgedAt", "purged", MOMENT, "the purge"),
    ),
    canonical_sql="""
        SELECT id AS execution_id, created AS created_at, NULL::TIMESTAMPTZ AS started_at, NULL::TIMESTAMPTZ AS ended_at, status,
               coalesce(status = 'done', false) AS terminal, purged AS purged_at, ['main'] AS legs, NULL::VARCHAR AS agent_id,
               NULL::VARCHAR AS agent_name, flow AS workflow_id, version AS workflow_version_id, NULL::VARCHAR AS workflow_name,
               NULL::DOUBLE AS duration_seconds
        FROM parsed
    """,
    tombstone_field="purgedAt",
    link_answers={},
    read_answers={},
    build=lambda _settings, _runtime: None,
    meaning_changes={"version": ("flow",)},
)


def row(seen: datetime = NOON, execution_id: str = "a", **fields: object) -> Row:
    """Return one row as the ingest makes it, seen at ``seen``."""
    text = strict(redact_json(json.dumps({"id": execution_id, **fields}).encode())).text
    return Row(execution_id, NOON, text, seen, seen)


@dataclass
class StubProvider(Provider):
    """A provider that lists what a test gives it, in pages of two, and may break."""

    objects: list[dict[str, object]] = field(default_factory=list)
    breaks_after: int | None = None
    error: ArchiveError | None = None
    walks: int = 0

    @property
    def name(self) -> str:
        """The specimen's name."""
        return SPEC.name

    @property
    def base_url(self) -> str:
        """No real place."""
        return "https://specimen.invalid"

    def find(self, window: Window) -> Iterator[Page]:
        """Yield the objects of the window."""
        self.walks += 1
        records = []
        for item in self.objects:
            created_at = datetime.fromisoformat(str(item["createdAt"]))
            if created_at in window:
                records.append(ExecutionRecord(str(item["id"]), created_at, json.dumps(item).encode()))
        for start in range(0, len(records), 2):
            if self.error is not None and start >= (self.breaks_after or 0):
                raise self.error
            yield Page(tuple(records[start : start + 2]))

    def get(self, execution_id: str) -> ExecutionRecord:
        """Not asked here."""
        raise NotImplementedError

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Not asked here."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to close."""
