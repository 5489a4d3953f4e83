"""The real clock. Nothing else in the project asks the time: it is a parameter everywhere."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from resources.providers.protocol import Runtime


def utc_now() -> datetime:
    """Return the present moment, UTC and timezone-aware."""
    return datetime.now(tz=UTC)


REAL_RUNTIME = Runtime(now=utc_now, monotonic=time.monotonic, sleep=time.sleep)
