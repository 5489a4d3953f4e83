"""Presigned URLs out of answers: checked as addresses, never shown."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urljoin, urlsplit

from resources.model import Link
from resources.providers.api import Reply
from resources.providers.moments import expiry_in_url

HEADER_LOCATION = "Location"
LINK_SCHEMES = frozenset({"http", "https"})


def link_to(reply: Reply, address: str, expires_at: datetime | None = None) -> Link:
    """Return ``address`` as a link.

    Args:
        reply: the answer that holds it.
        address: the URL that the provider gave.
        expires_at: when the provider says that it lapses; None reads it from the URL, as far as it is visible there.

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
    return Link(url, expires_at or expiry_in_url(url))


def link_from_redirect(reply: Reply) -> Link:
    """Return the target of a redirect as a link; a relative ``Location`` starts from what was asked (RFC 9110, 10.2.2).

    Raises:
        UnexpectedAnswerError: there is no ``Location``, or it is not an http or https URL.
    """
    location = reply.header(HEADER_LOCATION)
    if not location:
        raise reply.unexpected("a redirect without a Location")
    try:
        return link_to(reply, urljoin(reply.url, location))
    except ValueError:
        raise reply.unexpected("a redirect whose Location is not a URL") from None
