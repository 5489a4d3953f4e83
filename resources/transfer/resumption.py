"""How a broken body may go on: which validator to ask with, and what each answer is worth.

The rest is asked for with ``Range`` and ``If-Range`` (RFC 9110, 13.1.5 and 14.2). What comes is believed by its ``Content-Range``
and its validator alone, never by hope: many hosts leave ``If-Range`` out of account, some leave ``Range`` out. :data:`MATRIX` is
the whole decision; nothing here does any I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

from resources.transfer.answers import OK

_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
_PLAIN_CODINGS = {"content-encoding": "identity", "transfer-encoding": "chunked"}
_MULTIPART = "multipart/"

# RFC 9110, 8.8.3. A weak tag begins with W/; quotes of other kinds, or none, are no tag at all.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_CONTENT_RANGE = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_SETTLED = timedelta(seconds=60)
"""How much older than its answer a Last-Modified must be. RFC 9110, 8.8.2.2, asks for one second where both come from one clock,
and for enough to make the clocks' difference unlikely to matter where they may not; the 60 seconds are RFC 7232's."""


@dataclass(frozen=True, slots=True)
class Validator:
    """What proves that two answers are of the same bytes.

    Attributes:
        header: the lower-case name of the header that it came in.
        value: exactly as it was sent.
    """

    header: str
    value: str


def validator_of(headers: Mapping[str, str]) -> Validator | None:
    """Return what an answer can be continued with, or None where nothing in it is strong enough.

    A strong ETag. A date only where there is no ETag at all: with a weak one RFC 9110, 13.1.5, forbids the date too.
    """
    etag = headers.get("etag")
    if etag is not None:
        return Validator("etag", etag) if _STRONG_ETAG.fullmatch(etag) else None
    modified = headers.get("last-modified")
    changed, answered = _moment(modified), _moment(headers.get("date"))
    if modified is None or changed is None or answered is None or answered - changed < _SETTLED:
        return None
    return Validator("last-modified", modified)


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except (ValueError, TypeError):
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the rest was asked for with.

    Attributes:
        position: how many bytes there are already.
        length: of the whole body, or None where no answer has said it yet.
        validator: of the first answer.
        kept: how many of the last bytes are still at hand, to be compared.
    """

    position: int
    length: int | None
    validator: Validator | None
    kept: int

    def headers(self) -> tuple[str, ...]:
        """Return the header lines that ask for the rest."""
        condition = (f"If-Range: {self.validator.value}",) if self.validator else ()
        return (f"Range: bytes={self.position}-", *condition)


@dataclass(frozen=True, slots=True)
class Span:
    """A Content-Range: the bytes ``first`` to ``last``, both included, of ``total`` (None: not said)."""

    first: int
    last: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Offer:
    """The head of the answer to go on with."""

    status: int
    headers: Mapping[str, str]

    @property
    def span(self) -> Span | None:
        """What its Content-Range says, or None where that is missing, unreadable or contradicts itself."""
        found = _CONTENT_RANGE.fullmatch(self.headers.get("content-range", ""))
        if found is None:
            return None
        first, last = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        return Span(first, last, total) if first <= last and (total is None or last < total) else None

    @property
    def encoded(self) -> bool:
        """Whether it comes in any other form than plain bytes."""
        return any(self.headers.get(name, plain).lower() != plain for name, plain in _PLAIN_CODINGS.items())

    def contradicts(self, span: Span) -> bool:
        """Say whether its Content-Length is there, and is not the length of ``span``."""
        length = self.headers.get("content-length")
        return length is not None and length != str(span.last - span.first + 1)


class Verdict(Enum):
    """What to do with an offer."""

    GO_ON = "take its bytes"
    COMPARE = "compare what comes again with what is there, then take the rest"
    START_OVER = "give up: nothing is published, and the next try starts from zero"


@dataclass(frozen=True, slots=True)
class Row:
    """One case of the matrix.

    Attributes:
        name: of the case.
        holds: whether it is this case; a row may rely on those above it not holding.
        verdict: what to do.
        why: for the reader of the table, and of the error.
    """

    name: str
    holds: Callable[[Asked, Offer], bool]
    verdict: Verdict
    why: str


def _spanning(holds: Callable[[Asked, Span], bool]) -> Callable[[Asked, Offer], bool]:
    return lambda asked, offer: offer.span is not None and holds(asked, offer.span)


def _validator_missing(asked: Asked, offer: Offer) -> bool:
    return asked.validator is not None and asked.validator.header not in offer.headers


def _validator_changed(asked: Asked, offer: Offer) -> bool:
    return asked.validator is not None and offer.headers.get(asked.validator.header) != asked.validator.value


NO_VALIDATOR = Row(
    "no validator",
    lambda asked, _: asked.validator is None,
    Verdict.START_OVER,
    "its first answer has no strong ETag or date to prove that the rest belongs to it",
)

_OVER, _COMPARE, _GO_ON = Verdict.START_OVER, Verdict.COMPARE, Verdict.GO_ON

MATRIX: tuple[Row, ...] = (
    NO_VALIDATOR,  # not even asked
    # -- the status
    Row("200", lambda _, o: o.status == OK, _OVER, "the host sends the whole again: it changed, or the host knows no ranges"),
    Row("416", lambda _, o: o.status == _RANGE_NOT_SATISFIABLE, _OVER, "the host says that there is no more: it changed"),
    Row("another status", lambda _, o: o.status != _PARTIAL_CONTENT, _OVER, "the host does not answer a range"),
    # -- the form of a 206
    Row("encoded", lambda _, o: o.encoded, _OVER, "the rest comes encoded, and is not the same bytes"),
    Row(
        "multipart",
        lambda _, o: o.headers.get("content-type", "").lower().startswith(_MULTIPART),
        _OVER,
        "the rest comes in several parts, and one range was asked for",
    ),
    Row("no Content-Range", lambda _, o: o.span is None, _OVER, "the host does not say which bytes come"),
    # -- whether it is the same recording. If-Range is no proof: who ignores it answers 206 for changed bytes too.
    Row("validator missing", _validator_missing, _OVER, "the rest does not repeat the validator, so it may be of something else"),
    Row("validator changed", _validator_changed, _OVER, "the recording changed while it was transferred"),
    Row(
        "another total",
        _spanning(lambda a, s: None not in (a.length, s.total) and s.total != a.length),
        _OVER,
        "the total length changed",
    ),
    Row(
        "end unknown",
        _spanning(lambda a, s: a.length is None and s.total is None),
        _OVER,
        "no answer says the total length, so the end cannot be proven",
    ),
    Row(
        "beyond the end",
        _spanning(lambda a, s: a.length is not None and s.last >= a.length),
        _OVER,
        "the range goes beyond the end",
    ),
    Row(
        "another count",
        lambda _, o: o.span is not None and o.contradicts(o.span),
        _OVER,
        "its length and its Content-Range contradict each other",
    ),
    # -- which bytes
    Row("gap", _spanning(lambda a, s: s.first > a.position), _OVER, "the range begins later than asked, and leaves a gap"),
    Row("nothing new", _spanning(lambda a, s: s.last < a.position), _OVER, "the range holds only what is there already"),
    Row(
        "overlap too long",
        _spanning(lambda a, s: a.position - s.first > a.kept),
        _OVER,
        "the range begins so early that what comes again cannot be compared",
    ),
    # Comparing costs nothing, and a difference is the one sign of a host that repeats a validator for other bytes.
    Row("overlap", _spanning(lambda a, s: s.first < a.position), _COMPARE, "the range begins earlier than asked"),
    Row(
        "shorter",
        _spanning(lambda a, s: s.last + 1 < (a.length or s.total or 0)),
        _GO_ON,
        "the range ends before the body does; the rest is asked for once more",
    ),
    Row("no length", lambda _, o: "content-length" not in o.headers, _GO_ON, "Content-Range counts the bytes"),
    Row("as asked", lambda _asked, _offer: True, _GO_ON, "the rest"),
)
"""The first row that holds decides. What is not plainly right starts over: that costs bytes, and a wrong join a recording."""


def judge(asked: Asked, offer: Offer) -> Row:
    """Return the row of the matrix that an offer is."""
    return next(row for row in MATRIX if row.holds(asked, offer))
