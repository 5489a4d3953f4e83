"""The media client: a presigned URL in, a checked stream of bytes out.

It has no key of any provider and asks for nothing but the link: what may be fetched is decided by
:class:`~resources.transfer.addresses.AddressPolicy`, at every hop. Bytes are checked as they flow: status before bytes, then
length and container, SHA-256 and count on the way, and the end.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote, urljoin

from resources.errors import (
    LinkExpiredError,
    NotMediaError,
    RecordingError,
    Subject,
    TransientError,
    TruncatedError,
    UnexpectedAnswerError,
)
from resources.model import Link
from resources.redaction import redact
from resources.settings import Settings
from resources.transfer.addresses import AddressPolicy
from resources.transfer.answers import REDIRECTS, answer_of, fault_of, retry_after
from resources.transfer.curl import Exchange
from resources.transfer.signature import SIGNATURE_BYTES, Container, detect, name_of_other

MAX_REDIRECTS = 3
CHUNK_BYTES = 1024 * 1024
_IDENTITY = "identity"
_CHUNKED = "chunked"
_ANY_ASCII = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_SHOWN_CHARACTERS = 80
_HEADER_CHARACTERS = 200
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]+")
_ANY_QUERY = re.compile(r"\?[^\s\"'<>]*")


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What a recording may be and take.

    Attributes:
        max_bytes: a larger body is refused, by its length before it flows or while it does.
        min_bytes: a smaller one is no recording.
        stall_seconds: how long it may flow slower than ``min_bytes_per_second``; whole seconds, at least 1.
        min_bytes_per_second: see ``stall_seconds``.
        deadline_seconds: for everything from the first question to the last byte.
    """

    max_bytes: int
    min_bytes: int
    stall_seconds: int
    min_bytes_per_second: int
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What came, known when the last chunk was taken.

    Attributes:
        bytes: how many.
        sha256: lower-case hexadecimal.
        content_type: by the first bytes.
        extension: by the first bytes, without a dot.
        declared_type: the answer's Content-Type, or None.
        etag: the answer's ETag as sent, or None.
        last_modified: the answer's Last-Modified as sent, or None.
        seconds: from the question to the last byte.
    """

    bytes: int
    sha256: str
    content_type: str
    extension: str
    declared_type: str | None
    etag: str | None
    last_modified: str | None
    seconds: float


def _excerpt(head: bytes) -> str:
    """Return the beginning of a body for a message: printable, short, without secrets."""
    text = _NOT_PRINTABLE.sub(" ", head[:SIGNATURE_BYTES].decode("latin-1"))
    return _ANY_QUERY.sub("", redact(text)).strip()[:_SHOWN_CHARACTERS]


class MediaBody:
    """One recording as it comes in. A context manager; leaving it gives the connection back.

    Attributes:
        detected: the container, by the first bytes; known before the first chunk is taken.
        length: the announced bytes, or None where the answer is chunked.
    """

    def __init__(
        self, client: MediaClient, exchange: Exchange, subject: Subject, head: bytes, detected: Container, started: float
    ) -> None:
        """Go on from an answer that was found good so far."""
        self._client = client
        self._exchange: Exchange | None = exchange
        self._subject = subject
        self._head = head
        self._headers = exchange.headers
        self._started = started
        self._facts: MediaFacts | None = None
        self._taken = False
        self.detected = detected
        self.length = client.announced_length(subject, exchange)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the transfer if it goes on, and give the connection back. Harmless to repeat."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._client.give_back(exchange)

    @property
    def facts(self) -> MediaFacts:
        """What came.

        Raises:
            RuntimeError: the chunks were not taken to their end.
        """
        if self._facts is None:
            msg = "the facts of a body are known after its last chunk"
            raise RuntimeError(msg)
        return self._facts

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces of about 1 MiB, once. Ends normally only if the body is whole and a recording.

        Raises:
            TruncatedError, TransientError, NotMediaError: the body broke, stalled, or is too small or too large.
        """
        exchange = self._exchange
        if self._taken or exchange is None:
            msg = "the chunks of a body can be taken once, while it is open"
            raise RuntimeError(msg)
        self._taken = True
        digest = hashlib.sha256()
        size = 0
        chunk, self._head = self._head, b""
        while True:
            if len(chunk) < CHUNK_BYTES:
                chunk += exchange.read(CHUNK_BYTES - len(chunk))
            if not chunk:
                break
            digest.update(chunk)
            size += len(chunk)
            self._client.check_size(self._subject, size)
            yield chunk
            if self._exchange is not exchange:
                msg = "the body was closed before its chunks were taken"
                raise RuntimeError(msg)
            chunk = b""
        self._check_end(exchange, size)
        self._facts = MediaFacts(
            bytes=size,
            sha256=digest.hexdigest(),
            content_type=self.detected.content_type,
            extension=self.detected.extension,
            declared_type=self._header("content-type"),
            etag=self._header("etag"),
            last_modified=self._header("last-modified"),
            seconds=self._client.monotonic() - self._started,
        )
        self.close()

    def _header(self, name: str) -> str | None:
        value = self._headers.get(name)
        return _NOT_PRINTABLE.sub(" ", value)[:_HEADER_CHARACTERS] if value else None

    def _check_end(self, exchange: Exchange, size: int) -> None:
        self._client.check_code(self._subject, exchange)
        if self.length is not None and size != self.length:
            raise TruncatedError(self._subject, f"the body has {size} of {self.length} bytes")
        self._client.check_minimum(self._subject, size)


class MediaClient:
    """Fetches recordings. Safe to use from several threads; keeps connections for the next fetch."""

    def __init__(
        self,
        policy: AddressPolicy,
        limits: MediaLimits,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects to nothing yet.

        Args:
            policy: where media may come from.
            limits: what it may take.
            now: the time, UTC; says whether a link has lapsed.
            monotonic: seconds for durations.
        """
        self._policy = policy
        self._limits = limits
        self._now = now
        self.monotonic = monotonic
        self._lock = threading.Lock()
        self._idle: list[Exchange] = []
        self._closed = False

    @classmethod
    def from_settings(cls, settings: Settings, *, now: Callable[[], datetime]) -> Self:
        """Return the client that the settings describe."""
        return cls(
            AddressPolicy(settings.media_allowed_hosts, settings.media_allow_private),
            MediaLimits(
                max_bytes=settings.media_max_bytes,
                min_bytes=settings.media_min_bytes,
                stall_seconds=max(1, math.ceil(settings.media_stall_seconds)),
                min_bytes_per_second=settings.media_min_bytes_per_second,
                deadline_seconds=settings.media_deadline_seconds,
            ),
            now=now,
        )

    def fetch(self, subject: Subject, link: Link) -> MediaBody:
        """Ask for a recording, and return it once its answer, length and container are found good.

        Raises:
            LinkExpiredError: the link has lapsed, by its own time or by the host's answer.
            RateLimitedError, TransientError: see :data:`~resources.transfer.answers.MEDIA_ANSWERS`.
            NotMediaError: what comes is no recording.
            RefusedError: the settings do not allow the address.
            UnexpectedAnswerError: an answer outside of what a download can have.
        """
        if link.expires_at is not None and link.expires_at <= self._now():
            raise LinkExpiredError(subject, f"the link lapsed at {link.expires_at:%Y-%m-%dT%H:%M:%SZ}")
        exchange = self._take()
        try:
            started = self.monotonic()
            self._ask(subject, exchange, link.url, started)
            self._check_head(subject, exchange)
            head = exchange.read(SIGNATURE_BYTES)
            return MediaBody(self, exchange, subject, head, self._container(subject, exchange, head), started)
        except BaseException:
            self.give_back(exchange)
            raise

    def close(self) -> None:
        """Close the idle connections now, and those in use when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for exchange in idle:
            exchange.close()

    # -- connections

    def _take(self) -> Exchange:
        with self._lock:
            if self._closed:
                msg = "the media client is closed"
                raise RuntimeError(msg)
            if self._idle:
                return self._idle.pop()
        return Exchange()

    def give_back(self, exchange: Exchange) -> None:
        """Keep an exchange for the next fetch."""
        exchange.stop()
        with self._lock:
            if not self._closed:
                self._idle.append(exchange)
                return
        exchange.close()

    # -- asking

    def _ask(self, subject: Subject, exchange: Exchange, url: str, started: float) -> None:
        """Follow the redirects by hand, and stop at the first other answer."""
        for _ in range(MAX_REDIRECTS + 1):
            url = quote(url, safe=_ANY_ASCII)  # libcurl wants ASCII; what is ASCII stays as it was signed
            refusals = self._start(subject, exchange, url, started)
            exchange.wait_for_head()
            if not exchange.head_done:
                if refusals:
                    raise refusals[0]
                self.check_code(subject, exchange)
                raise TransientError(subject, "the media host ended its answer within the headers")
            target = exchange.headers.get("location")
            if exchange.status not in REDIRECTS or not target:
                return
            url = self._next_hop(subject, url, target)
        raise UnexpectedAnswerError(subject, f"more than {MAX_REDIRECTS} redirects", http_status=exchange.status)

    def _next_hop(self, subject: Subject, url: str, target: str) -> str:
        try:
            return urljoin(url, target)
        except ValueError:
            raise UnexpectedAnswerError(subject, "a redirect to a URL that cannot be parsed") from None

    def _start(self, subject: Subject, exchange: Exchange, url: str, started: float) -> list[RecordingError]:
        host = self._policy.check_url(subject, url)
        refusals: list[RecordingError] = []

        def admit(address: str) -> bool:
            try:
                self._policy.check_ip(subject, host, ipaddress.ip_address(address.partition("%")[0]))
            except RecordingError as refusal:  # raising through libcurl would print a traceback and lose the error
                refusals.append(refusal)
                return False
            return True

        left = self._limits.deadline_seconds - (self.monotonic() - started)
        if left <= 0:
            raise TransientError(subject, "the transfer passed MEDIA_DEADLINE_SECONDS")
        exchange.start(url, self._limits, seconds=left, admit=admit)
        return refusals

    # -- checking

    def _check_head(self, subject: Subject, exchange: Exchange) -> None:
        status = exchange.status
        answer = answer_of(status)
        if answer.error is not None:
            wait = retry_after(exchange.headers.get("retry-after"), self._now())
            raise answer.error(subject, answer.meaning, http_status=status, retry_after=wait)
        encoding = exchange.headers.get("content-encoding", _IDENTITY).lower()
        if encoding != _IDENTITY:
            detail = f"the body is encoded ({_excerpt(encoding.encode())}), and only plain bytes were asked for"
            raise NotMediaError(subject, detail, http_status=status)
        length = self.announced_length(subject, exchange)
        if length is not None:
            self.check_size(subject, length)
            self.check_minimum(subject, length)

    def announced_length(self, subject: Subject, exchange: Exchange) -> int | None:
        """Return the announced bytes, or None for a chunked body, whose end is marked and whose truncation libcurl tells.

        Raises:
            NotMediaError: neither; such a body ends wherever the connection does, and can never be proven whole.
        """
        coding = exchange.headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != _CHUNKED:
                raise NotMediaError(subject, "the body has a transfer coding other than chunked", http_status=exchange.status)
            return None
        text = exchange.headers.get("content-length", "")
        if not (text.isascii() and text.isdecimal()):
            raise NotMediaError(subject, "the body has no length, so it can never be proven whole", http_status=exchange.status)
        return int(text)

    def _container(self, subject: Subject, exchange: Exchange, head: bytes) -> Container:
        detected = detect(head)
        if detected is not None:
            return detected
        if exchange.code is not None:
            self.check_code(subject, exchange)  # a cut-off beginning is truncation, not a wrong type
        declared = _excerpt(exchange.headers.get("content-type", "nothing").encode())
        detail = f"the body is not a recording but {name_of_other(head)} (declared as {declared}): {_excerpt(head)!r}"
        raise NotMediaError(subject, detail, http_status=exchange.status)

    def check_code(self, subject: Subject, exchange: Exchange) -> None:
        """Raise what libcurl's code means, if the transfer ended badly."""
        if exchange.code:
            fault = fault_of(exchange.code, body_began=exchange.head_done)
            raise fault.error(subject, fault.meaning, http_status=exchange.status or None)

    def check_size(self, subject: Subject, size: int) -> None:
        """Raise NotMediaError for more than ``max_bytes``."""
        if size > self._limits.max_bytes:
            raise NotMediaError(subject, f"the body is larger than MEDIA_MAX_BYTES ({self._limits.max_bytes} bytes)")

    def check_minimum(self, subject: Subject, size: int) -> None:
        """Raise NotMediaError for less than ``min_bytes``."""
        if size < self._limits.min_bytes:
            raise NotMediaError(subject, f"the body has {size} bytes, fewer than MEDIA_MIN_BYTES ({self._limits.min_bytes})")
