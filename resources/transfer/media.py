"""The media client: a presigned URL in, a checked stream of bytes out.

It has no key of any provider and asks for nothing but the link: what may be fetched is decided by
:class:`~resources.transfer.addresses.AddressPolicy`, at every hop. Bytes are checked as they flow: status before bytes, then
length and container, SHA-256 and count on the way, and the end. A body that breaks goes on by itself
(:mod:`resources.transfer.stream`).
"""

from __future__ import annotations

import ipaddress
import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Self
from urllib.parse import quote, urljoin

from resources.errors import (
    LinkExpiredError,
    NotMediaError,
    RecordingError,
    RefusedError,
    Subject,
    TransientError,
    UnexpectedAnswerError,
)
from resources.evidence import READ_BYTES, Evidence, cleaned
from resources.failpoints import Failpoint, reached
from resources.model import Link
from resources.patience import Patience
from resources.redaction import redact
from resources.settings import Settings
from resources.transfer.addresses import AddressPolicy
from resources.transfer.answers import OK, REDIRECTS, announced_length, answer_of, check_code, retry_after
from resources.transfer.body import MediaBody, Opening
from resources.transfer.curl import Exchange
from resources.transfer.limits import MediaLimits
from resources.transfer.signature import SIGNATURE_BYTES, Container, allows, detect, name_of_other
from resources.transfer.stream import Source, Stream, Watch

MAX_REDIRECTS = 3
_IDENTITY = "identity"
_ANY_ASCII = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_SHOWN_CHARACTERS = 80
_LENGTH_DIGITS = 18
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]+")
_ANY_QUERY = re.compile(r"\?[^\s\"'<>]*")


def _excerpt(head: bytes) -> str:
    """Return the beginning of a body for a message: printable, short, without secrets."""
    text = _NOT_PRINTABLE.sub(" ", head[:SIGNATURE_BYTES].decode("latin-1"))
    return _ANY_QUERY.sub("", redact(text)).strip()[:_SHOWN_CHARACTERS]


class MediaClient:
    """Fetches recordings. Safe to use from several threads; keeps connections for the next fetch."""

    def __init__(
        self,
        policy: AddressPolicy,
        limits: MediaLimits,
        *,
        now: Callable[[], datetime],
        allowed_types: Sequence[str] = (),
        patience: Patience | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        new_exchange: Callable[[], Exchange] = Exchange,
    ) -> None:
        """Connects to nothing yet.

        Args:
            policy: where media may come from.
            limits: what it may take.
            now: the time, UTC; says whether a link has lapsed.
            allowed_types: detected types and wildcards (``audio/*``) that a recording may have; empty allows all.
            patience: for transient faults between a break and its continuation; by default, such a fault is the end.
            monotonic: seconds for durations.
            new_exchange: makes a connection; a seam for the simulator.
        """
        self._policy = policy
        self._limits = limits
        self._now = now
        self._allowed_types = tuple(allowed_types)
        self._patience = patience or Patience(retries=0, budget=0.0, sleep=time.sleep)
        self._monotonic = monotonic
        self._new_exchange = new_exchange
        self._lock = threading.Lock()
        self._idle: list[Exchange] = []
        self._closed = False

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        new_exchange: Callable[[], Exchange] = Exchange,
    ) -> Self:
        """Return the client that the settings describe; the rest as for the client itself."""
        return cls(
            AddressPolicy(settings.media_allowed_hosts, settings.media_allow_private),
            MediaLimits(
                max_bytes=settings.media_max_bytes,
                min_bytes=settings.media_min_bytes,
                stall_seconds=max(1, math.ceil(settings.media_stall_seconds)),
                min_bytes_per_second=settings.media_min_bytes_per_second,
                deadline_seconds=settings.media_deadline_seconds,
                require_length=settings.media_require_length,
            ),
            now=now,
            allowed_types=settings.media_allowed_types,
            patience=Patience.from_settings(settings, sleep),
            monotonic=monotonic,
            new_exchange=new_exchange,
        )

    def fetch(self, subject: Subject, link: Link, refresh: Callable[[], Link] | None = None) -> MediaBody:
        """Ask for a recording, and return it once its answer, length and container are found good.

        Args:
            subject: whose recording it is.
            link: a fresh one.
            refresh: asks for another link when the body breaks; it then goes on where it stopped, if that can be trusted. What it
                raises comes out of the body's chunks, transient faults after the client's patience. None lets a break be the end.

        Raises:
            LinkExpiredError: the link has lapsed, by its own time or by the host's answer.
            RateLimitedError, TransientError: see :data:`~resources.transfer.answers.MEDIA_ANSWERS`.
            NotMediaError: what comes is no recording.
            RefusedError: the settings do not allow the address.
            UnexpectedAnswerError: an answer outside of what a download can have.
        """
        watch = Watch(self._limits, self._monotonic, self._monotonic())
        exchange = self._take()

        def ask_for_rest(fresh: Link, request_headers: Sequence[str]) -> None:
            self._ask(subject, exchange, fresh, watch, request_headers)
            self._check_status(subject, exchange, judged=True)

        try:
            urls = self._ask(subject, exchange, link, watch)
            reached(Failpoint.MEDIA_ANSWERED)
            headers = exchange.headers
            length = self._check_head(subject, exchange, urls)
            source = Source(refresh, ask_for_rest, self._patience) if refresh else None
            stream = Stream(subject, exchange, self._limits, length, watch, source)
            head = stream.read(SIGNATURE_BYTES)
            evidence = partial(_evidence, head, headers, urls, length)
            container = self._container(subject, headers, head, evidence)
            opening = Opening(subject, headers, head, container, self._limits, evidence)
            reached(Failpoint.HEAD_CHECKED)
            return MediaBody(opening, stream, lambda: self._give_back(exchange), watch.elapsed)
        except BaseException:
            self._give_back(exchange)
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
        return self._new_exchange()

    def _give_back(self, exchange: Exchange) -> None:
        """Keep an exchange for the next fetch."""
        exchange.stop()
        with self._lock:
            if not self._closed:
                self._idle.append(exchange)
                return
        exchange.close()

    # -- asking

    def _ask(
        self, subject: Subject, exchange: Exchange, link: Link, watch: Watch, request_headers: Sequence[str] = ()
    ) -> Sequence[str]:
        """Follow the redirects by hand, and stop at the first other answer. Return every URL that was asked."""
        if link.expires_at is not None and link.expires_at <= self._now():
            raise LinkExpiredError(subject, f"the link lapsed at {link.expires_at:%Y-%m-%dT%H:%M:%SZ}")
        url, urls = link.url, list[str]()
        for _ in range(MAX_REDIRECTS + 1):
            # libcurl wants ASCII; what is ASCII stays as it was signed, and what UTF-8 cannot write is no URL anyway.
            url = quote(url, safe=_ANY_ASCII, errors="replace")
            urls.append(url)
            refusals = self._start(subject, exchange, url, watch, request_headers)
            exchange.wait_for_head()
            if not exchange.head_done:
                if refusals:
                    raise refusals[0]
                check_code(subject, exchange.code, exchange.status, body_began=False)
                raise TransientError(subject, "the media host ended its answer within the headers")
            target = exchange.headers.get("location")
            if exchange.status not in REDIRECTS or not target:
                return urls
            url = self._next_hop(subject, url, target)
        raise UnexpectedAnswerError(subject, f"more than {MAX_REDIRECTS} redirects", http_status=exchange.status)

    def _next_hop(self, subject: Subject, url: str, target: str) -> str:
        try:
            return urljoin(url, target)
        except ValueError:
            raise RefusedError(subject, "a redirect to a URL that cannot be parsed") from None

    def _start(
        self, subject: Subject, exchange: Exchange, url: str, watch: Watch, request_headers: Sequence[str]
    ) -> list[RecordingError]:
        host = self._policy.check_url(subject, url)
        refusals: list[RecordingError] = []

        def admit(address: str) -> bool:
            try:
                self._policy.check_ip(subject, host, ipaddress.ip_address(address.partition("%")[0]))
            except RecordingError as refusal:  # raising through libcurl would print a traceback and lose the error
                refusals.append(refusal)
                return False
            return True

        seconds = watch.seconds_left(subject)
        exchange.start(url, self._limits, seconds=seconds, admit=admit, request_headers=request_headers)
        return refusals

    # -- checking

    def _check_status(self, subject: Subject, exchange: Exchange, *, judged: bool = False) -> None:
        """Raise what the status means; one without a meaning passes where somebody else judges it."""
        status = exchange.status
        answer = answer_of(status)
        if answer.error is None or (judged and answer.error is UnexpectedAnswerError):
            return
        wait = retry_after(exchange.headers.get("retry-after"), self._now())
        raise answer.error(subject, answer.meaning, http_status=status, retry_after=wait)

    def _check_head(self, subject: Subject, exchange: Exchange, urls: Sequence[str]) -> int | None:
        """Check the head of a first answer, and return the length that it announces."""
        self._check_status(subject, exchange)
        try:
            return self._announced(subject, exchange)
        except NotMediaError as error:
            head = exchange.read(READ_BYTES)[:READ_BYTES]
            error.evidence = _evidence(head, exchange.headers, urls, None)
            raise

    def _announced(self, subject: Subject, exchange: Exchange) -> int | None:
        encoding = exchange.headers.get("content-encoding", _IDENTITY).lower()
        if encoding != _IDENTITY:
            detail = f"the body is encoded ({_excerpt(encoding.encode())}), and only plain bytes were asked for"
            raise NotMediaError(subject, detail, http_status=exchange.status)
        length = announced_length(subject, exchange.status, exchange.headers)
        self._limits.check_announced(subject, length)
        return length

    def _container(
        self, subject: Subject, headers: Mapping[str, str], head: bytes, evidence: Callable[[], Evidence]
    ) -> Container:
        detected = detect(head)
        if detected is not None and allows(self._allowed_types, detected.content_type):
            return detected
        declared = _declared(headers) or "nothing"
        if detected is None:
            detail = f"the body is not a recording but {name_of_other(head)} (declared as {declared})"
        else:
            allowed = ", ".join(self._allowed_types)
            detail = f"the body is {detected.content_type}, and MEDIA_ALLOWED_TYPES allows {allowed} (declared as {declared})"
        error = NotMediaError(subject, detail, http_status=OK)
        error.evidence = evidence()
        raise error


def _declared(headers: Mapping[str, str]) -> str | None:
    declared = headers.get("content-type")
    return _excerpt(declared.encode()) if declared else None


def _evidence(head: bytes, headers: Mapping[str, str], urls: Sequence[str], length: int | None) -> Evidence:
    detected = detect(head)
    encoding = headers.get("content-encoding", "")
    seems = detected.content_type if detected is not None else name_of_other(head)
    announced = headers.get("content-length", "")
    if length is None and announced.isascii() and announced.isdecimal():
        length = int(announced[:_LENGTH_DIGITS])
    return Evidence(cleaned(head, urls, encoding), seems, _declared(headers), length)
