"""The executions lake on S3: a large file is read where it lies, and replaced files go as on local disk."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from assets.executions import former, lake, sorting
from assets.executions.compaction import compact
from resources.storage import open_storage
from tests.executions.specimen import DAY, NOON, SPEC, row
from tests.storage.seaweed import Seaweed, seaweed

__all__ = ["seaweed"]

pytestmark = [pytest.mark.s3, pytest.mark.slow]


def test_a_large_day_and_its_compaction(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in slices, from a file that is opened and not fetched, come back as they were; one file is left in the end."""
    seaweed.use(monkeypatch)
    monkeypatch.setattr(former, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(sorting, "SLICE_BYTES", 20_000)
    monkeypatch.setattr(lake, "ROW_GROUP_ROWS", 40)
    storage = open_storage(f"s3://{seaweed.bucket}/{uuid.uuid4().hex}")
    for hour, status in enumerate(("running", "done")):
        seen = NOON + timedelta(hours=hour)
        rows = [row(seen, execution_id=f"e{number:03d}", status=status if number % 3 == 0 else "done") for number in range(150)]
        table = lake.write_partition(storage, SPEC, DAY, rows)
    found = lake.read_partition(storage, SPEC, DAY)
    assert found.equals(table)
    assert found["status"].to_pylist() == ["done"] * 150
    assert compact(storage, SPEC, grace=timedelta(seconds=-1)).files_after == 1
    assert lake.read_partition(storage, SPEC, DAY).equals(table)
