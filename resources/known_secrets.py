"""The secrets that this process knows (keys, passwords), and how they are found in texts."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

REDACTED = "[redacted]"
MIN_SECRET_LENGTH = 6
"""Characters; what is shorter is a number or a word that also stands elsewhere."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a process knows at one moment.

    Attributes:
        plain: each secret as text and as bytes, the longest first: one may be a part of another.
        spelled: matches them in JSON inside text too, with some of their characters escaped.
        marks: escapes without which a JSON string spells none of them but by its plain bytes.
    """

    plain: tuple[tuple[str, bytes], ...] = ()
    spelled: re.Pattern[str] | None = None
    marks: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, values: Iterable[str]) -> Secrets:
        """Return the secrets ``values``, which may also stand percent-encoded or as JSON."""
        ordered = sorted({form for value in values for form in (value, quote(value, safe=""))}, key=len, reverse=True)
        forms = sorted({*ordered, *(json.dumps(value)[1:-1] for value in ordered)}, key=len, reverse=True)
        letters = set().union(*ordered)
        marks = [b"\\" + letter.encode() for letter in '/"\\' if letter in letters]
        if not all(map(str.isascii, letters)):
            marks.append(b"\\u")
        if not all(map(str.isprintable, letters)):
            marks.append(b"\\")
        return cls(
            tuple((form, form.encode()) for form in forms),
            re.compile("|".join(map(_spelled, ordered))),
            tuple(marks),
        )

    def in_bytes(self, raw: bytes) -> bool:
        """Return whether any stands in ``raw``, as plain bytes."""
        return any(secret in raw for _, secret in self.plain)

    def removed_from(self, text: str) -> str:
        """Return ``text`` without them, however JSON in it spells them."""
        for secret, _ in self.plain:
            text = text.replace(secret, REDACTED)
        return self.spelled.sub(REDACTED, text) if self.spelled is not None and "\\" in text else text


def _spelled(secret: str) -> str:
    """Return an expression that matches a secret as a JSON string may spell it, at any depth of JSON inside JSON."""
    parts: list[str] = []
    for letter in secret:
        units = letter.encode("utf-16-be")
        code = "".join(rf"\\++u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2))
        before = "" if parts else r"(?<!\\)"  # a run of backslashes is looked at from its beginning only: linear time
        if letter == "\\":
            part = rf"(?:{before}\\++(?:u005[cC])?+)++"
            if parts and parts[-1] == part:
                continue
        elif letter in '/"':
            part = rf"(?:{letter}|{before}\\++{letter}|{before}{code})"
        else:
            part = rf"(?:{re.escape(letter)}|{before}{code})"
        parts.append(part)
    return "".join(parts)


_known_lock = threading.Lock()
_known: set[str] = set()
_secrets = Secrets()


def remember_secret(value: str | None) -> None:
    """Have ``value`` (a key, a password) removed from everything that is redacted from now on in this process."""
    global _secrets  # noqa: PLW0603 -- what this process knows, in the order in which it is used
    if value and len(value) >= MIN_SECRET_LENGTH and value not in _known:
        with _known_lock:
            _known.add(value)
            _secrets = Secrets.of(_known)


def remember_password(url: str | None) -> None:
    """Have the password in a URL, if there is one, removed from everything that is redacted from now on in this process."""
    try:
        password = urlsplit(url or "").password
    except ValueError:
        return
    remember_secret(password)
    remember_secret(unquote(password or ""))


def known_secrets() -> tuple[str, ...]:
    """Return the values that :func:`redact` removes wherever they stand."""
    return tuple(text for text, _ in _secrets.plain)


def secrets() -> Secrets:
    """Return what this process knows now."""
    return _secrets
