"""The rows of a walk by day, in memory or on disk."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assets.executions.intake import Row
from assets.executions.spool import Spool
from tests.executions.specimen import DAY, row


@pytest.mark.parametrize("memory_bytes", [0, 200, 10**9])
def test_rows_come_back_by_day_in_order(memory_bytes: int) -> None:
    """Wherever the rows are held meanwhile, each day gets its own, whole and in the order in which they came."""
    days = [DAY + timedelta(days=number) for number in range(3)]
    rows = [row(execution_id=f"{number}\u202e\x00", note="ü" * number) for number in range(30)]
    with Spool(Row, memory_bytes) as spool:
        for number, item in enumerate(rows):
            spool.add(days[number % 3], item)
        assert [list(spool.rows(day)) for day in days] == [rows[0::3], rows[1::3], rows[2::3]]
        assert list(spool.rows(DAY - timedelta(days=1))) == []
