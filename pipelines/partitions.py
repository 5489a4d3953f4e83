"""The partitions: one provider's UTC day of ``created_at``, today included."""

from __future__ import annotations

import dagster as dg

from resources.settings import Settings


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Return the UTC days from ``ARCHIVE_START_DATE`` to today, which is a partition while it is still filling."""
    return dg.DailyPartitionsDefinition(start_date=settings.archive_start_date, timezone="UTC", end_offset=1)
