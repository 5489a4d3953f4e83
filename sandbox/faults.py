"""Faults that are switched on for everything, at start-up or while the sandbox runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from sandbox.options import OptionError


class Fault(StrEnum):
    """The names of the faults. What a value means is in :data:`FAULTS`."""

    WRONG_KEYS = "wrong-keys"
    FORBIDDEN = "forbidden"
    EVERYTHING_500 = "everything-500"
    RATE_LIMIT = "rate-limit"
    ASTEROID_SHIFTING_PAGES = "asteroid-shifting-pages"
    ASTEROID_EXCLUSIVE_BOUNDS = "asteroid-exclusive-bounds"
    FEATHER_REPEATED_CURSOR = "feather-repeated-cursor"
    KATAVEN_WRONG_BASE = "kataven-wrong-base"
    LINK_EXPIRED = "link-expired"
    MEDIA_HTML = "media-html"
    MEDIA_SVG = "media-svg"
    MEDIA_JSON = "media-json"
    MEDIA_TRUNCATE = "media-truncate"
    MEDIA_NO_LENGTH = "media-no-length"
    MEDIA_NO_RANGES = "media-no-ranges"
    MEDIA_NEW_ETAG = "media-new-etag"
    MEDIA_OVERLAP = "media-overlap"
    MEDIA_GZIP = "media-gzip"
    MEDIA_SLOW = "media-slow"
    MEDIA_REDIRECT = "media-redirect"
    MEDIA_PRIVATE = "media-private"
    CHAOS = "chaos"


class Value(StrEnum):
    """What kind of value a fault takes."""

    NONE = "nothing"
    PROVIDER = "a provider's name, or nothing for all"
    COUNT = "a whole number above 0"
    OPTIONAL_COUNT = "a whole number above 0, or nothing"
    RATE = "N/second"
    URL = "an http or https URL"
    SHARE = "SHARE or SHARE/SEED, with a share from 0 to 1"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """What a fault does, and the value that it takes."""

    value: Value
    meaning: str


FAULTS: dict[Fault, FaultKind] = {
    Fault.WRONG_KEYS: FaultKind(Value.PROVIDER, "every API call is answered 401"),
    Fault.FORBIDDEN: FaultKind(Value.PROVIDER, "every API call is answered 403"),
    Fault.EVERYTHING_500: FaultKind(Value.PROVIDER, "every API call is answered 500"),
    Fault.RATE_LIMIT: FaultKind(Value.RATE, "a provider answers 429 to more API calls than that in a second"),
    Fault.ASTEROID_SHIFTING_PAGES: FaultKind(
        Value.OPTIONAL_COUNT, "so many rows (2) arrive at the front of each list while its pages are read"
    ),
    Fault.ASTEROID_EXCLUSIVE_BOUNDS: FaultKind(Value.NONE, "createdAfter and createdBefore leave their own moment out"),
    Fault.FEATHER_REPEATED_CURSOR: FaultKind(Value.NONE, "nextCursor is always the same, and so is the page"),
    Fault.KATAVEN_WRONG_BASE: FaultKind(Value.NONE, 'every path is answered 404 "404 page not found"'),
    Fault.LINK_EXPIRED: FaultKind(Value.NONE, "presigned URLs have expired when they are handed out"),
    Fault.MEDIA_HTML: FaultKind(Value.NONE, "media is an HTML error page with status 200, which quotes the presigned URL"),
    Fault.MEDIA_SVG: FaultKind(Value.NONE, "media is an SVG picture of an error with status 200, which quotes the signature"),
    Fault.MEDIA_JSON: FaultKind(Value.NONE, "media is a JSON error with status 200, which quotes the presigned URL's parts"),
    Fault.MEDIA_TRUNCATE: FaultKind(
        Value.OPTIONAL_COUNT, "bodies stop after so many bytes (half) of the length that they announced"
    ),
    Fault.MEDIA_NO_LENGTH: FaultKind(
        Value.OPTIONAL_COUNT, "bodies announce no length and end in good order after so many bytes (half)"
    ),
    Fault.MEDIA_NO_RANGES: FaultKind(Value.NONE, "Range is left out of account: every answer is the whole"),
    Fault.MEDIA_NEW_ETAG: FaultKind(Value.NONE, "every GET of a recording has another ETag"),
    Fault.MEDIA_OVERLAP: FaultKind(
        Value.OPTIONAL_COUNT, "a 206 begins so many bytes (100) before what was asked for, and says so"
    ),
    Fault.MEDIA_GZIP: FaultKind(Value.NONE, "bodies come with Content-Encoding: gzip, asked for or not"),
    Fault.MEDIA_SLOW: FaultKind(Value.COUNT, "so many bytes a second"),
    Fault.MEDIA_REDIRECT: FaultKind(Value.URL, "media is answered 302 to this URL"),
    Fault.MEDIA_PRIVATE: FaultKind(Value.NONE, "presigned URLs point to http://169.254.169.254/"),
    Fault.CHAOS: FaultKind(
        Value.SHARE, "that share of all calls fails, each in one of many ways; the same calls whenever the seed is the same"
    ),
}


class FaultBoard:
    """Which faults are on."""

    def __init__(self, providers: Iterable[str]) -> None:
        self._providers = tuple(providers)
        self._on: dict[Fault, str | None] = {}

    def switch(self, name: str, value: object = None) -> None:
        """Switch the fault ``name`` on, with a value if it takes one; ``value=False`` switches it off.

        Raises:
            OptionError: there is no such fault, or the value is wrong.
        """
        try:
            fault = Fault(name)
        except ValueError:
            msg = f"there is no fault {name!r}; the faults are: {', '.join(Fault)}"
            raise OptionError(msg) from None
        if value is False:
            self._on.pop(fault, None)
            return
        text = None if value is None or value is True else str(value)
        self._check(fault, text)
        self._on[fault] = text

    def switch_text(self, text: str) -> None:
        """Switch a fault on that is written ``NAME`` or ``NAME=VALUE``."""
        name, equals, value = text.partition("=")
        self.switch(name, value if equals else None)

    def clear(self) -> None:
        """Switch everything off."""
        self._on.clear()

    def shown(self) -> dict[str, str | None]:
        """Return what is on, with its values."""
        return {fault.value: value for fault, value in self._on.items()}

    def has(self, fault: Fault, provider: str | None = None) -> bool:
        """Tell whether ``fault`` is on, for ``provider`` if it is limited to one."""
        if fault not in self._on:
            return False
        value = self._on[fault]
        return FAULTS[fault].value is not Value.PROVIDER or value is None or value == provider

    def text(self, fault: Fault) -> str | None:
        """Return the value of ``fault``, or None."""
        return self._on.get(fault)

    def count(self, fault: Fault) -> int | None:
        """Return the value of ``fault`` as a number, or None when it is off or has none."""
        value = self._on.get(fault)
        return int(value.partition("/")[0]) if value else None

    def share(self, fault: Fault) -> tuple[float, str]:
        """Return the share and the seed of ``fault``; nothing of everything where it is off."""
        share, _, seed = (self._on.get(fault) or "0").partition("/")
        return float(share), seed

    def _check(self, fault: Fault, text: str | None) -> None:
        kind = FAULTS[fault].value
        match kind:
            case Value.NONE:
                good = text is None
            case Value.PROVIDER:
                good = text is None or text in self._providers
            case Value.COUNT:
                good = _is_count(text)
            case Value.OPTIONAL_COUNT:
                good = text is None or _is_count(text)
            case Value.RATE:
                number, _, unit = (text or "").partition("/")
                good = _is_count(number) and unit in {"", "second"}
            case Value.URL:
                good = text is not None and urlsplit(text).scheme in {"http", "https"}
            case Value.SHARE:
                good = _is_share((text or "").partition("/")[0])
        if not good:
            msg = f"the fault {fault} takes {kind}, not {text!r}"
            raise OptionError(msg)


def _is_count(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdigit() and int(text) > 0


def _is_share(text: str) -> bool:
    try:
        return 0.0 <= float(text) <= 1.0
    except ValueError:
        return False
