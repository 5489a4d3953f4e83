"""The HTTP client of the providers' APIs: one host, one key, statuses turned into errors, nothing secret in any text.

The key travels to the base URL's host only and a redirect is never followed: httpx strips ``Authorization`` on a cross-origin
redirect but forwards a key in a header of another name (measured; ``docs/architecture.md``, "Secrets").
"""

from __future__ import annotations

import codecs
import logging
import re
import ssl
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from pydantic import SecretStr

from resources.errors import (
    AbsentError,
    BlockedError,
    RateLimitedError,
    RecordingError,
    SettingsError,
    Subject,
    TransientError,
    UnexpectedAnswerError,
)
from resources.known_secrets import remember_secret
from resources.providers.deadline import Deadline, TimedTransport
from resources.providers.moments import retry_after_seconds
from resources.providers.protocol import Answer, Runtime
from resources.providers.ratelimit import RateLimiter
from resources.redaction import redact

MIB = 1024 * 1024
BODY_MAX_BYTES = 64 * MIB
ANSWER_MAX_SECONDS = 180.0
"""The longest that one answer may take as a whole: the read timeout alone lets a body drip in for ever."""
TIMEOUTS = httpx.Timeout(connect=10.0, read=60.0, write=30.0, pool=60.0)
CONNECTIONS = httpx.Limits(max_connections=64, max_keepalive_connections=32)
ID_MAX_CHARS = 512
USER_AGENT = "recording-archive"

HEADER_ACCEPT = "Accept"
HEADER_ACCEPT_ENCODING = "Accept-Encoding"
HEADER_CONTENT_ENCODING = "Content-Encoding"
HEADER_RETRY_AFTER = "Retry-After"
HEADER_USER_AGENT = "User-Agent"

# One layer of gzip grows 64 KiB to 66 MiB at most before the count stops it; two layers, or zstd, have no such bound.
_ENCODINGS = frozenset({"", "identity", "gzip"})
_KEY_FAULTS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_SERVER_FAULTS = range(500, 600)
_REDIRECTIONS = range(300, 400)
_AUTHORITY = re.compile(r"(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_BASE_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/%-]*")
_CLIMBS = frozenset({".", ".."})

Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class Service:
    """One provider's API as the settings describe it.

    Attributes:
        provider: the provider's name.
        base_url: normalised, without a trailing slash.
        base_setting: the environment variable of the base URL, for messages.
        key_setting: the environment variables to look at after a 401 or 403, in words, for messages.
        headers: what identifies us; secret.
    """

    provider: str
    base_url: str
    base_setting: str
    key_setting: str
    headers: Mapping[str, str] = field(repr=False)

    @property
    def host(self) -> str:
        """Host and port of the base URL."""
        return urlsplit(self.base_url).netloc


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was read to its end. The headers may hold a presigned URL: the repr hides them, and the body.

    Attributes:
        status: the HTTP status.
        url: what was asked, query included.
        headers: of the answer; names in any case.
        body: after decompression.
        service: for messages.
        subject: for messages.
    """

    status: int
    url: str = field(repr=False)
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)
    service: Service = field(repr=False)
    subject: Subject

    def header(self, name: str) -> str:
        """Return a header's value, or an empty text when it is not there."""
        return str(self.headers.get(name) or "").strip()

    def json(self, shape: type[Shape]) -> Shape:
        """Return the body decoded as ``shape``.

        Raises:
            UnexpectedAnswerError: it is not JSON, or not of that shape; names the base URL's setting.
        """
        try:
            return msgspec.json.decode(self.body.removeprefix(codecs.BOM_UTF8), type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            # The fault's own text holds positions and types, never content, except for a codec error's.
            reason = "not UTF-8" if isinstance(fault, UnicodeDecodeError) else str(fault)
            what = f"the body is not the JSON that was expected ({reason})"
            raise self.unexpected(what) from None

    def unexpected(self, what: str) -> UnexpectedAnswerError:
        """Return the error for an answer of a good status that cannot be used."""
        return UnexpectedAnswerError(
            self.subject, f"{what}. Check {self.service.base_setting} ({self.service.base_url})", http_status=self.status
        )


class ApiClient:
    """Asks one provider's API. Safe to use from several threads."""

    def __init__(
        self,
        service: Service,
        runtime: Runtime,
        *,
        limiter: RateLimiter | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Open a client; ``transport`` is a seam for tests."""
        silence_http_loggers()
        self.service = service
        self._runtime = runtime
        self._limiter = limiter
        self._deadline = Deadline(runtime.monotonic)
        own = TimedTransport(self._deadline, verify=_trusted_authorities(), trust_env=False, limits=CONNECTIONS)
        self._client = httpx.Client(
            headers={
                HEADER_ACCEPT: "application/json",
                HEADER_ACCEPT_ENCODING: "gzip",
                HEADER_USER_AGENT: USER_AGENT,
                **service.headers,
            },
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # the key says who asks; nothing else is kept
            timeout=TIMEOUTS,
            transport=transport or own,
        )

    def close(self) -> None:
        """Close the connections, and give turns back that were not used."""
        self._client.close()
        if self._limiter is not None:
            self._limiter.close()

    def get(
        self,
        path: Sequence[str],
        answers: Mapping[int, Answer],
        subject: Subject,
        *,
        params: Mapping[str, str] | None = None,
        hand_back: Collection[int] = (),
    ) -> Reply:
        """Ask ``GET <base URL>/<path>`` and return the answer where its status is a good one.

        Args:
            path: segments, not encoded yet.
            answers: what each documented status means; those with no error are good.
            subject: what the question is about, for messages.
            params: the query; sent as it is, never written to any text.
            hand_back: statuses that the caller judges itself.

        Raises:
            RecordingError: the type that ``answers`` names for the status; see also :meth:`_undocumented`.
            TransientError: no whole answer came.
        """
        url = "/".join((self.service.base_url, *(quote(segment, safe="") for segment in path)))
        with self._limiter.turn(subject) if self._limiter else nullcontext():
            reply = self._ask(url, dict(params or {}), subject)
        answer = answers.get(reply.status)
        if reply.status in hand_back or (answer is not None and answer.error is None):
            return reply
        raise self._error_of(reply, answer)

    def _ask(self, url: str, params: dict[str, str], subject: Subject) -> Reply:
        """Send the request and read the body to its end, within the bounds of size and time."""
        started = self._runtime.monotonic()
        body = bytearray()
        try:
            with self._deadline.of(ANSWER_MAX_SECONDS), self._client.stream("GET", url, params=params) as response:
                if str(response.headers.get(HEADER_CONTENT_ENCODING) or "").strip().lower() not in _ENCODINGS:
                    raise UnexpectedAnswerError(
                        subject,
                        f"{self.service.host} used a content encoding that was not asked for",
                        http_status=response.status_code,
                    )
                for chunk in response.iter_bytes():
                    body += chunk
                    self._keep_bounds(len(body), started, subject)
                return Reply(
                    response.status_code, str(response.request.url), response.headers, bytes(body), self.service, subject
                )
        except httpx.HTTPError as fault:
            raise self._no_answer(fault, subject) from None
        except httpx.InvalidURL:
            raise UnexpectedAnswerError(
                subject, f"not asked: the address is not valid. Check {self.service.base_setting}"
            ) from None

    def _keep_bounds(self, size: int, started: float, subject: Subject) -> None:
        if size > BODY_MAX_BYTES:
            raise UnexpectedAnswerError(subject, f"the answer of {self.service.host} is larger than {BODY_MAX_BYTES // MIB} MiB")
        if self._runtime.monotonic() - started > ANSWER_MAX_SECONDS:
            raise TransientError(subject, f"the answer of {self.service.host} took longer than {ANSWER_MAX_SECONDS:.0f} s")

    def _no_answer(self, fault: httpx.HTTPError, subject: Subject) -> TransientError:
        # Only a refused connection's own text is of use (refused, unknown name, certificate), and it names no URL.
        reason = f": {redact(str(fault))}" if isinstance(fault, httpx.ConnectError) and str(fault) else ""
        return TransientError(
            subject,
            f"no answer from {self.service.host} ({type(fault).__name__}{reason}). "
            f"If it stays so, check {self.service.base_setting}",
        )

    def _error_of(self, reply: Reply, answer: Answer | None) -> RecordingError:
        retry_after = retry_after_seconds(reply.header(HEADER_RETRY_AFTER), self._runtime.now())
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS and self._limiter and retry_after is not None:
            self._limiter.hold(retry_after)
        if answer is None or answer.error is None:
            return self._undocumented(reply, retry_after)
        detail = answer.meaning
        if issubclass(answer.error, BlockedError):
            at_fault = self.service.key_setting if reply.status in _KEY_FAULTS else self.service.base_setting
            detail = f"{phrase(reply.status)}: {answer.meaning}. Check {at_fault}"
        if issubclass(answer.error, AbsentError):
            return answer.error(reply.subject, detail, http_status=reply.status)
        return answer.error(reply.subject, detail, http_status=reply.status, retry_after=retry_after)

    def _undocumented(self, reply: Reply, retry_after: float | None) -> RecordingError:
        """Return the error for a status that the endpoint's table does not hold.

        401 and 403 are the operator's fault, 429 asks to wait, 408 and 5xx may heal, and everything else is outside the contract.
        """
        service, status, subject = self.service, reply.status, reply.subject
        if status in _KEY_FAULTS:
            return BlockedError(subject, f"{phrase(status)}: check {service.key_setting}", http_status=status)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return RateLimitedError(subject, phrase(status), http_status=status, retry_after=retry_after)
        if status == HTTPStatus.REQUEST_TIMEOUT or status in _SERVER_FAULTS:
            return TransientError(
                subject, f"{service.host} answered {phrase(status)}", http_status=status, retry_after=retry_after
            )
        hint = " with a redirect, which is not followed" if status in _REDIRECTIONS else ""
        return reply.unexpected(f"{service.host} answered {phrase(status)}{hint}")


@cache
def _trusted_authorities() -> ssl.SSLContext:
    """Return the TLS context that all clients share: reading the authorities takes longer than a request does."""
    return httpx.create_ssl_context(trust_env=False)


def silence_http_loggers() -> None:
    """Keep httpx and httpcore from logging whole URLs, query included, which they do at INFO and DEBUG."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)


def phrase(status: int) -> str:
    """Return a status with its standard words, such as ``401 Unauthorized``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def checked_id(execution_id: str, subject: Subject) -> str:
    """Return ``execution_id`` when it may stand in a path.

    Raises:
        UnexpectedAnswerError: it is empty, ``.`` or ``..`` (a path would swallow them), longer than ID_MAX_CHARS, or holds
            control characters or lone surrogates. Nothing is asked.
    """
    if execution_id in ("", ".", "..") or len(execution_id) > ID_MAX_CHARS or not _is_plain(execution_id):
        shown = Subject(subject.provider, ascii(execution_id[:40]), subject.leg)
        raise UnexpectedAnswerError(shown, "not asked: this id cannot stand in a path")
    return execution_id


def _is_plain(text: str) -> bool:
    # C0, DEL and C1 controls, and surrogates that UTF-8 cannot write.
    return not any(char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" for char in text)


def checked_base_url(url: str, setting: str) -> str:
    """Return a base URL without its trailing slash.

    Raises:
        SettingsError: it is not an absolute http or https URL, or it has a query, a fragment or a user name.
    """
    text = url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        good = (
            parts.scheme in ("http", "https")
            and _AUTHORITY.fullmatch(parts.netloc.lower())
            is not None  # parsers disagree about all others: where would the key go?
            and (parts.port is None or parts.port > 0)
            and _BASE_PATH.fullmatch(parts.path) is not None
            and not _CLIMBS.intersection(parts.path.split("/"))
            and not set("?#\\").intersection(text)
            and text.isascii()
            and text.isprintable()
        )
    except ValueError:
        good = False
    if not good:
        msg = (
            f"{setting} is not a plain http or https URL. Write it like https://api.example.com/v1, without a query or user name."
        )
        raise SettingsError(msg)
    return text


def checked_key(key: SecretStr, setting: str) -> str:
    """Return an API key without the white space around it, and have it redacted from now on.

    Raises:
        SettingsError: it holds characters that a header cannot carry; the message does not show it.
    """
    text = key.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        msg = f"{setting} is empty or holds characters that no key has (a line break, a space, a quote copied along?)."
        raise SettingsError(msg)
    remember_secret(text)
    return text
