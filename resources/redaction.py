"""The one place that takes secrets out of text: query strings of URLs, and known keys.

A presigned URL is a secret for as long as it lives (``docs/architecture.md``, "Secrets"). Everything that leaves the process as
text (log records, error texts, Dagster metadata, raw JSON in the lake) passes :func:`redact` or :func:`redact_json`.
"""

from __future__ import annotations

import logging
import re
import threading
from urllib.parse import urlsplit

REDACTED = "[redacted]"

# In raw JSON a URL may be written with escapes (``\/``, ``\u0026``, ``\u003f``), so both spellings of each mark are matched.
# A query never swallows a backslash that could belong to ``\"``: the JSON must stay valid.
_BEFORE_QUERY = r"""(?:https?|wss?):(?://|\\/\\/)(?:[^\s"'<>?\\]|\\/)*"""
_QUERY = r"""(?:\?|\\u003[fF])(?:[^\s"'<>\\]|\\/|\\u[0-9a-fA-F]{4})*"""
_URL_WITH_QUERY = re.compile(f"({_BEFORE_QUERY}){_QUERY}")
_URL_WITH_QUERY_BYTES = re.compile(f"({_BEFORE_QUERY})({_QUERY})".encode())

# What makes a query a credential: the parameters of S3, GCS, Azure and CloudFront signatures, and tokens by name.
_CREDENTIAL = re.compile(
    rb"""(?ix)(?:[?&]|u0026|u003f) (?:amp;)?
    (?: x-(?:amz|goog)-[a-z-]+ | awsaccesskeyid | googleaccessid | key-pair-id | signature | policy | sig | sv | se
      | [a-z_-]*token | api[_-]?key | jwt | auth | access[_-]?key | secret | expires )
    (?:=|\\u003d|%3d)"""
)
# Fields that the providers fill with URLs of live credentials, whatever the parameters are called
# (``recordingUrl``, ``browserRecordingUrl``, ``liveViewUrl``, ``browserLiveViewUrl``).
_CREDENTIAL_FIELD = re.compile(
    rf"""(?i)("[a-z_]*(?:recording|live_?view|presigned)[a-z_]*url"\s*:\s*"{_BEFORE_QUERY}){_QUERY}""".encode()
)

_USERINFO = re.compile(r"(?<=://)[^\s/@\"'<>]+@")

_known_lock = threading.Lock()
_known: set[str] = set()
_MIN_SECRET_LENGTH = 6


def remember_secret(value: str | None) -> None:
    """Have ``value`` (an API key) removed from everything that is redacted from now on in this process."""
    if value and len(value) >= _MIN_SECRET_LENGTH:
        with _known_lock:
            _known.add(value)


def safe_url(url: str) -> str:
    """Return ``url`` without its query, fragment and user info, fit for a message."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return REDACTED
    host = parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{host}{port}{parts.path}" if parts.scheme else parts.path


def redact(text: str) -> str:
    """Return ``text`` with the query strings of all URLs, URL passwords and all known keys removed."""
    text = _URL_WITH_QUERY.sub(r"\1", text)
    text = _USERINFO.sub("", text)
    for secret in tuple(_known):
        text = text.replace(secret, REDACTED)
    return text


def _without_credential(match: re.Match[bytes]) -> bytes:
    address: bytes = match.group(1)
    query: bytes = match.group(2)
    return address if _CREDENTIAL.search(query) else address + query


def redact_json(raw: bytes) -> bytes:
    """Return a JSON document with the query strings of presigned URLs in its strings, and all known keys, removed.

    A query without a credential in it (the start page of a browser run, say) is a fact and stays. Works on the bytes, so that
    numbers, key order and spacing stay as the provider sent them. The result is valid JSON wherever ``raw`` was: only the inside
    of strings is shortened.
    """
    if b"?" in raw or b"\\u003" in raw:
        raw = _CREDENTIAL_FIELD.sub(rb"\1", raw)
        raw = _URL_WITH_QUERY_BYTES.sub(_without_credential, raw)
    for secret in tuple(_known):
        raw = raw.replace(secret.encode(), REDACTED.encode())
    return raw


class RedactingFilter(logging.Filter):
    """A logging filter that redacts the finished message and the exception text of every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact ``record`` in place; never drops one."""
        record.msg = redact(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
            record.exc_info = None
        return True
