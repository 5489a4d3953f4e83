"""Presigned URLs out of answers: checked as addresses, never shown."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from resources.model import Link
from resources.providers.api import Reply
from resources.providers.moments import expiry_in_url

HEADER_LOCATION = "Location"
HEADER_DATE = "Date"
LINK_SCHEMES = frozenset({"http", "https"})


def by_our_clock(reply: Reply, moment: datetime | None, now: datetime) -> datetime | None:
    """Return a moment of the provider's clock as ours will show it: the answer's Date says how far the two are apart.

    A machine whose clock is some minutes ahead would otherwise take every fresh link for a lapsed one.
    """
    try:
        sent = parsedate_to_datetime(reply.header(HEADER_DATE)) if moment is not None else None
        return moment if moment is None or sent is None else moment + (now - sent)
    except (ValueError, TypeError, OverflowError):
        return moment  # no Date, none that can be read, or one without a zone


def link_to(reply: Reply, address: str, now: datetime, expires_at: datetime | None = None) -> Link:
    """Return ``address`` as a link.

    Args:
        reply: the answer that holds it.
        address: the URL that the provider gave.
        now: UTC, by our clock.
        expires_at: when it lapses, by our clock; None reads it from the URL, as far as it is visible there.

    Raises:
        UnexpectedAnswerError: it is not an http or https URL; the text does not show it.
    """
    try:
        url = address.strip()
        parts = urlsplit(url)
        good = parts.scheme in LINK_SCHEMES and bool(parts.hostname)
    except ValueError:
        good, url = False, ""
    if not good:
        raise reply.unexpected("the recording's address is not an http or https URL")
    return Link(url, expires_at or by_our_clock(reply, expiry_in_url(url), now))


def link_from_redirect(reply: Reply, now: datetime) -> Link:
    """Return the target of a redirect as a link; a relative ``Location`` starts from what was asked (RFC 9110, 10.2.2).

    Raises:
        UnexpectedAnswerError: there is no ``Location``, or it is not an http or https URL.
    """
    location = reply.header(HEADER_LOCATION)
    if not location:
        raise reply.unexpected("a redirect without a Location")
    try:
        return link_to(reply, urljoin(reply.url, location), now)
    except ValueError:
        raise reply.unexpected("a redirect whose Location is not a URL") from None
