"""What each answer of a media host means, as data: HTTP statuses, and libcurl's own codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

import pycurl  # pyright: ignore[reportMissingModuleSource]

from resources.errors import (
    LinkExpiredError,
    NotMediaError,
    RateLimitedError,
    RecordingError,
    RefusedError,
    Subject,
    TransientError,
    TruncatedError,
    UnexpectedAnswerError,
)
from resources.providers.protocol import Answer

OK = 200
_CHUNKED = "chunked"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SERVER_FAULTS = range(500, 600)

MEDIA_ANSWERS: Mapping[int, Answer] = {
    200: Answer(None, "the recording follows"),
    # Google Cloud Storage answers an expired V4 signature with 400 ExpiredToken, S3 an expired session token likewise.
    400: Answer(LinkExpiredError, "the link is not accepted: ask for a fresh one"),
    401: Answer(LinkExpiredError, "the link is not accepted: ask for a fresh one"),
    403: Answer(LinkExpiredError, "the link has expired: ask for a fresh one"),
    # The provider has just named the object, so a store that does not know it yet is behind; if it was purged, the provider
    # says so when it is asked for the next link.
    404: Answer(TransientError, "the media host does not have the object (yet)"),
    408: Answer(TransientError, "the media host gave up waiting"),
    410: Answer(LinkExpiredError, "the link is gone: ask for a fresh one"),
    425: Answer(TransientError, "the media host asks to try again"),
    429: Answer(RateLimitedError, "the media host asks to slow down"),
}
"""What the statuses mean. Every 5xx is transient; every other status is outside of what a media host should say."""

_SERVER_FAULT = Answer(TransientError, "the media host failed")
_UNEXPECTED = Answer(UnexpectedAnswerError, "the media host gave an answer that a download cannot have")


def answer_of(status: int) -> Answer:
    """Return what ``status`` means; ``error`` is None for the good answer only."""
    known = MEDIA_ANSWERS.get(status)
    if known is not None:
        return known
    return _SERVER_FAULT if status in _SERVER_FAULTS else _UNEXPECTED


@dataclass(frozen=True, slots=True)
class Fault:
    """What a code of libcurl means. Its own texts are never shown: they may quote the URL."""

    error: type[RecordingError]
    meaning: str


CURL_FAULTS: Mapping[int, Fault] = {
    pycurl.E_UNSUPPORTED_PROTOCOL: Fault(RefusedError, "the scheme is not allowed, or the media host does not speak HTTP/1"),
    pycurl.E_URL_MALFORMAT: Fault(UnexpectedAnswerError, "the media URL is malformed"),
    pycurl.E_COULDNT_RESOLVE_HOST: Fault(TransientError, "the name of the media host cannot be resolved"),
    pycurl.E_COULDNT_CONNECT: Fault(TransientError, "the media host does not accept connections"),
    pycurl.E_PARTIAL_FILE: Fault(TruncatedError, "the body ended before its length"),
    pycurl.E_OPERATION_TIMEDOUT: Fault(TransientError, "the transfer stalled, or passed MEDIA_DEADLINE_SECONDS"),
    pycurl.E_SSL_CONNECT_ERROR: Fault(TransientError, "TLS could not be agreed on with the media host"),
    pycurl.E_GOT_NOTHING: Fault(TransientError, "the media host closed the connection without an answer"),
    pycurl.E_SEND_ERROR: Fault(TransientError, "the connection broke while asking"),
    pycurl.E_RECV_ERROR: Fault(TransientError, "the connection broke"),
    pycurl.E_PEER_FAILED_VERIFICATION: Fault(TransientError, "the certificate of the media host is not accepted"),
    pycurl.E_BAD_CONTENT_ENCODING: Fault(NotMediaError, "the body has a transfer coding that cannot be undone"),
    pycurl.E_FILESIZE_EXCEEDED: Fault(NotMediaError, "the body is larger than MEDIA_MAX_BYTES"),
}
"""What libcurl's codes mean (https://curl.se/libcurl/c/libcurl-errors.html)."""

_BROKEN_MIDWAY = frozenset({pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING, pycurl.E_PARTIAL_FILE})


def fault_of(code: int, *, body_began: bool) -> Fault:
    """Return what libcurl's ``code`` means; a connection that breaks within the body has truncated it."""
    if body_began and code in _BROKEN_MIDWAY:
        return CURL_FAULTS[pycurl.E_PARTIAL_FILE]
    return CURL_FAULTS.get(code, Fault(TransientError, f"the transfer failed (libcurl code {code})"))


def check_code(subject: Subject, code: int | None, status: int, *, body_began: bool) -> None:
    """Raise what libcurl's ``code`` means, if the transfer ended badly."""
    if code:
        fault = fault_of(code, body_began=body_began)
        raise fault.error(subject, fault.meaning, http_status=status or None)


def announced_length(subject: Subject, status: int, headers: Mapping[str, str]) -> int | None:
    """Return the announced bytes, or None for a chunked body, whose end is marked and whose truncation libcurl tells.

    Raises:
        NotMediaError: neither; such a body ends wherever the connection does, and can never be proven whole.
    """
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != _CHUNKED:
            raise NotMediaError(subject, "the body has a transfer coding other than chunked", http_status=status)
        return None
    text = headers.get("content-length", "")
    if not (text.isascii() and text.isdecimal()):
        raise NotMediaError(subject, "the body has no length, so it can never be proven whole", http_status=status)
    return int(text)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return a Retry-After header in seconds from ``now``, or None where there is none that can be read (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, TypeError):
        return None
