"""The bytes of one recording, over as many answers as it takes.

Whoever reads does not notice a break: the stream asks for a fresh link, asks that for the rest, and goes on where it stopped, or
raises. What an answer is worth is decided by :data:`~resources.transfer.resumption.MATRIX`.

Nothing loops. Links that bring no byte are counted, and a few in a row are the end; those that bring bytes move on towards the
length, under the deadline and the minimum rate of the whole transfer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resources.errors import LinkExpiredError, NotContinuedError, RecordingError, Subject, TransientError, TruncatedError
from resources.model import Link
from resources.patience import FRESH_LINKS, Patience
from resources.transfer.answers import check_code
from resources.transfer.curl import Exchange
from resources.transfer.limits import MediaLimits
from resources.transfer.resumption import NO_VALIDATOR, Asked, Offer, Row, Verdict, judge, validator_of

KEPT_BYTES = 1024 * 1024
"""How many of the last bytes are kept, to compare an overlap with."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rest of a broken body comes from.

    Attributes:
        refresh: asks the provider for a fresh link.
        ask: asks a link, with further header lines, on the stream's exchange; raises what the answer means unless it is one that
            the matrix judges.
        patience: for transient faults of both.
    """

    refresh: Callable[[], Link]
    ask: Callable[[Link, Sequence[str]], None]
    patience: Patience


class Watch:
    """The deadline and the minimum rate of a whole transfer, however many answers it comes in.

    libcurl watches each answer. Here, the seconds that are spent above what the minimum rate allows for are summed: a stall may
    be continued, and a host that hands out a few bytes for each link is given up. Seconds in which the reader does something
    else, or patience pauses, do not count.
    """

    def __init__(self, limits: MediaLimits, monotonic: Callable[[], float], started: float) -> None:
        """Begin at ``started``, by the clock ``monotonic``."""
        self._limits = limits
        self._monotonic = monotonic
        self._started = started
        self._since = started
        self._behind = 0.0

    def begin(self) -> None:
        """Count from now on."""
        self._since = self._monotonic()

    def end(self, received: int = 0) -> None:
        """Count until now, in which time so many bytes came."""
        spent = self._monotonic() - self._since
        # libcurl averages over some seconds, and so notices a stall a little late: no single one counts for more than it is.
        late = min(spent - received / self._limits.min_bytes_per_second, self._limits.stall_seconds)
        self._behind = max(0.0, self._behind + late)

    def elapsed(self) -> float:
        """Return the seconds since the first question."""
        return self._monotonic() - self._started

    def seconds_left(self, subject: Subject) -> float:
        """Return the seconds until the deadline.

        Raises:
            TransientError: exhausted; there are none.
        """
        left = self._limits.deadline_seconds - self.elapsed()
        if left <= 0:
            raise _exhausted(subject, "the transfer passed MEDIA_DEADLINE_SECONDS")
        return left

    def check(self, subject: Subject) -> None:
        """Say whether there is time to go on after a break.

        Raises:
            TransientError: exhausted; there is none.
        """
        self.seconds_left(subject)
        if self._behind >= self._limits.stall_seconds * FRESH_LINKS:
            raise _exhausted(subject, "the transfer stalled again and again: slower than MEDIA_MIN_BYTES_PER_SECOND")


def _exhausted(subject: Subject, detail: str) -> TransientError:
    error = TransientError(subject, detail)
    error.exhausted = True
    return error


class _Tail:
    """The last bytes that went through, at least :data:`KEPT_BYTES` of them; keeps the pieces, copies nothing."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self.size = 0

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self.size += len(data)
        while self.size - len(self._pieces[0]) >= KEPT_BYTES:
            self.size -= len(self._pieces.popleft())

    def last(self, count: int) -> bytes:
        return b"".join(self._pieces)[-count:] if count else b""


class Stream:
    """The joined bytes of one recording.

    Attributes:
        length: of the whole body; None while no answer has said it.
        position: how many bytes went through.
        continuations: how many answers were joined to the first.
        refetched: bytes that came again, and were compared.
    """

    def __init__(
        self, subject: Subject, exchange: Exchange, limits: MediaLimits, length: int | None, watch: Watch, source: Source | None
    ) -> None:
        """Go on from the head of a first answer that was found good.

        Args:
            subject: for the errors.
            exchange: has the answer.
            limits: of the whole body.
            length: that it announced.
            watch: of the whole transfer.
            source: where the rest comes from when it breaks; None lets a break be the end.
        """
        self._subject = subject
        self._exchange = exchange
        self._limits = limits
        self._watch = watch
        self._source = source
        self._validator = validator_of(exchange.headers)
        self._answer_end = length
        self._overlap = b""
        self._tail = _Tail()
        self._fruitless = 0
        self._ended = False
        self._whole = False
        self.length = length
        self.position = 0
        self.continuations = 0
        self.refetched = 0

    def read(self, size: int) -> bytes:
        """Return at least ``size`` bytes; fewer only at the end of the whole body, and then none.

        Raises:
            RecordingError: the body broke, and does not go on; or it is larger than it may be.
        """
        parts: list[bytes] = []
        held = 0
        while held < size and not self._whole:
            if self._ended:
                self._at_end_of_answer()
                continue
            self._watch.begin()
            data = self._exchange.read(size - held)
            self._watch.end(len(data))
            self._ended = self._exchange.code is not None
            fresh = self._admit(data)
            parts.append(fresh)
            held += len(fresh)
        return b"".join(parts)

    def _admit(self, data: bytes) -> bytes:
        """Return what is new of ``data``, once what comes again was compared."""
        if self._overlap:
            expected, self._overlap = self._overlap[: len(data)], self._overlap[len(data) :]
            if data[: len(expected)] != expected:
                raise self._not_continued("the bytes that came again are others")
            self.refetched += len(expected)
            data = data[len(expected) :]
        if not data:
            return data
        if self._answer_end is not None and self.position + len(data) > self._answer_end:
            raise self._not_continued("more bytes came than the answer said")
        self._fruitless = 0
        self._tail.add(data)
        self.position += len(data)
        self._limits.check_size(self._subject, self.position)
        return data

    def _at_end_of_answer(self) -> None:
        exchange = self._exchange
        if self.position == self.length or (self.length is None and not exchange.code):
            self._whole = True
            return
        try:
            check_code(self._subject, exchange.code, exchange.status, body_began=exchange.head_done)
            raise TruncatedError(self._subject, f"the body has {self.position} of {self.length} bytes")
        except TransientError as fault:
            if self._source is None:
                raise
            self._go_on(self._source, fault)

    # -- going on

    def _go_on(self, source: Source, fault: TransientError) -> None:
        if self._validator is None:
            raise type(fault)(self._subject, f"{fault.detail}; {NO_VALIDATOR.why}", http_status=fault.http_status)
        self._watch.check(self._subject)
        if self._fruitless >= FRESH_LINKS:
            raise self._not_continued("too many fresh links in a row brought no byte")
        try:
            row, offer = source.patience.call(lambda: self._reopen(source))
        except LinkExpiredError as error:
            # Not the end of the try: some hosts refuse a range with the words for a lapsed link, and send the whole.
            raise self._not_continued("no fresh link is accepted for the rest", error.http_status) from error
        span = offer.span
        if row.verdict is Verdict.START_OVER or span is None:
            raise self._not_continued(row.why, offer.status)
        self.continuations += 1
        self._ended = False
        if self.length is None and span.total is not None:
            self._limits.check_size(self._subject, span.total)
            self.length = span.total
        self._answer_end = span.last + 1
        self._overlap = self._tail.last(self.position - span.first)

    def _reopen(self, source: Source) -> tuple[Row, Offer]:
        """Ask a fresh link for the rest, and return what the answer is worth."""
        asked = Asked(self.position, self.length, self._validator, min(self._tail.size, KEPT_BYTES))
        self._watch.begin()
        try:
            link = source.refresh()
            self._fruitless += 1
            self._ask(source, link, asked)
        finally:
            self._watch.end()
        offer = Offer(self._exchange.status, self._exchange.headers)
        return judge(asked, offer), offer

    def _ask(self, source: Source, link: Link, asked: Asked) -> None:
        try:
            source.ask(link, asked.headers())
        except TransientError as error:
            error.exhausted = error.exhausted or self._fruitless >= FRESH_LINKS
            raise

    def _not_continued(self, why: str, status: int | None = None) -> RecordingError:
        return NotContinuedError(self._subject, f"the body broke after {self.position} bytes: {why}", http_status=status)
