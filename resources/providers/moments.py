"""Moments as the providers write them: ISO 8601, epoch numbers, HTTP dates, and the expiry inside a presigned URL."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, urlsplit

# Below: 2000-01-01. A smaller number is a duration, a compact date or a mistake, never the start of a call.
_EPOCH_MIN = 946_684_800.0
# From here on a number counts milliseconds: as seconds it would be the year 5138, as milliseconds it is 1973.
_EPOCH_MILLISECONDS = 1e11
_EPOCH_TEXT = re.compile(r"\d+(?:\.\d+)?")
_ISO_START = re.compile(r"\d{4}-\d{2}-\d{2}")

RETRY_AFTER_MAX = 86_400.0
"""Seconds. The longest window that a provider documents is Kataven's day; a larger ``Retry-After`` is a mistake."""

_SECONDS_TEXT = re.compile(r"\d{1,12}(?:\.\d+)?")
_SIGNED_AT = ("x-amz-date", "x-goog-date")
_SIGNED_FOR = ("x-amz-expires", "x-goog-expires")
_COMPACT_DATE = "%Y%m%dT%H%M%SZ"


def moment_of_epoch(number: float) -> datetime | None:
    """Return the UTC moment of an epoch in seconds or milliseconds, or None before 2000 and beyond what a date can hold."""
    if not math.isfinite(number):
        return None
    seconds = number / 1000 if number >= _EPOCH_MILLISECONDS else number
    if seconds < _EPOCH_MIN:
        return None
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None


def moment_of(value: object) -> datetime | None:
    """Return ``value`` as a UTC moment, or None when it is not one.

    Takes ISO 8601 text with or without a zone (without one it is UTC), epoch seconds or milliseconds as a number or as text,
    and datetimes.
    """
    if isinstance(value, str):
        return _moment_of_text(value.strip())
    if isinstance(value, datetime):
        return _in_utc(value)
    return moment_of_epoch(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _moment_of_text(text: str) -> datetime | None:
    if not _ISO_START.match(text):
        return moment_of_epoch(float(text)) if _EPOCH_TEXT.fullmatch(text) else None
    try:
        return _in_utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def _in_utc(moment: datetime) -> datetime | None:
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return None


def iso_text(moment: datetime) -> str:
    """Return a UTC moment as RFC 3339 text ending in ``Z``, with the fraction only where there is one."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def retry_after_seconds(header: str, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3), or None when it is missing or unreadable.

    Both forms are taken, seconds and an HTTP date; a date in the past is 0, and the answer never exceeds RETRY_AFTER_MAX.
    """
    text = header.strip()
    if _SECONDS_TEXT.fullmatch(text):
        return min(float(text), RETRY_AFTER_MAX)
    try:
        at = _in_utc(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError):
        return None
    return None if at is None else min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_MAX)


def expiry_in_url(url: str) -> datetime | None:
    """Return when a presigned URL lapses, as far as its own query says so: S3 and GCS v4, S3 v2, CloudFront, Azure."""
    try:
        query = {key.lower(): value for key, value in parse_qsl(urlsplit(url).query)}
    except ValueError:
        return None
    signed_at = next((query[key] for key in _SIGNED_AT if key in query), None)
    signed_for = next((query[key] for key in _SIGNED_FOR if key in query), None)
    if signed_at is not None and signed_for is not None:
        return _signed_until(signed_at, signed_for)
    return moment_of(query.get("expires")) or (moment_of(query.get("se")) if "sig" in query else None)


def _signed_until(signed_at: str, signed_for: str) -> datetime | None:
    try:
        start = datetime.strptime(signed_at, _COMPACT_DATE).replace(tzinfo=UTC)
        return start + timedelta(seconds=int(signed_for))
    except (ValueError, OverflowError):
        return None
