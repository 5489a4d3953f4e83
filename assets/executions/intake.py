"""What comes in: any bytes that a provider sent for one execution -> one strict JSON object.

Everything behind this module (the merge, the typed decode, DuckDB's JSON functions over ``_raw``) may rely on strict JSON: one
malformed row would otherwise break an analyst's whole query. Nothing is dropped to get there; each repair is deterministic and
is reported:

- bytes that are not UTF-8 become U+FFFD;
- a value that only lenient parsers accept (NaN, a lone surrogate, a control character) is kept as a JSON string of its text;
- of a key that comes twice the last value wins, as in msgspec and Python; the earlier ones stay under :data:`REPEATED`;
- text that is no object at all is kept whole under :data:`UNPARSED`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from json.decoder import JSONDecoder, scanstring  # pyright: ignore[reportAttributeAccessIssue]
from typing import NamedTuple

import msgspec
from msgspec import Raw

UNPARSED = "_unparsed"
REPEATED = "_repeated"
REPAIR_KEYS = frozenset({UNPARSED, REPEATED})

Fields = dict[str, Raw]

_FIELDS = msgspec.json.Decoder(Fields)
_FIELDS_OF_MANY = msgspec.json.Decoder(list[Fields])
_ENCODER = msgspec.json.Encoder()
# msgspec skips over strings without pairing surrogates; DuckDB (yyjson) refuses a lone one for the whole query (measured).
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\r\n]*")
_LENIENT = JSONDecoder(strict=False)


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One execution as the lake keeps it before it is typed.

    Attributes:
        execution_id: the provider's id, verbatim.
        created_at: UTC; its day is the partition.
        raw: a strict JSON object, redacted.
        first_seen_at: UTC time of the first read that listed it.
        last_seen_at: UTC time of the read that these facts come from; the later of two reads is the newer.
    """

    execution_id: str
    created_at: datetime
    raw: str
    first_seen_at: datetime
    last_seen_at: datetime


class Entry(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A row of a partition that is being written; entries sort as the partition does.

    Attributes:
        created_at, execution_id, first_seen_at, last_seen_at: as in :class:`Row`.
        place: the number of the row in the partition's former file that holds it as it is, or -1.
        size: characters of the raw JSON.
        raw: the raw JSON, or empty where ``place`` says where it is.
    """

    created_at: datetime
    execution_id: str
    place: int
    size: int
    raw: str
    first_seen_at: datetime
    last_seen_at: datetime

    @classmethod
    def of(cls, row: Row, place: int = -1, *, held: bool = False) -> Entry:
        """Return the entry of a row; ``held`` leaves out what the former file holds."""
        raw = "" if held else row.raw
        return cls(row.created_at, row.execution_id, place, len(row.raw), raw, row.first_seen_at, row.last_seen_at)

    @property
    def row(self) -> Row:
        """The row; its raw JSON is empty where it was left out."""
        return Row(self.execution_id, self.created_at, self.raw, self.first_seen_at, self.last_seen_at)


class Intake(NamedTuple):
    """A strict JSON object, and what had to be repaired in it (None: nothing; the text is then the provider's own)."""

    text: str
    repaired: str | None


def split(text: str | bytes) -> Fields:
    """Return the top-level fields of a strict JSON object; values stay JSON. Raises msgspec.DecodeError."""
    return _FIELDS.decode(text)


def join(fields: Mapping[str, object]) -> str:
    """Return the compact JSON object of ``fields``; values are Raw, or anything that msgspec encodes."""
    return _ENCODER.encode(fields).decode()


def is_plain(raw: bytes) -> bool:
    """Tell cheaply that nothing is wrong: strict JSON, no surrogates, and exactly what its distinct fields alone would be.

    With white space between its fields it is something else: then :func:`strict` decides.
    """
    return _is_plain(_FIELDS, raw)


def are_plain(documents: Sequence[bytes]) -> bool:
    """Tell, more cheaply than one by one, that each of many is plain. False may also say that one has white space around it."""
    return _is_plain(_FIELDS_OF_MANY, b"[" + b",".join(documents) + b"]")


def _is_plain(decoder: msgspec.json.Decoder[Fields] | msgspec.json.Decoder[list[Fields]], raw: bytes) -> bool:
    if b"\\" in raw and _SURROGATE.search(raw):
        return False
    try:
        if not raw.isascii():
            raw.decode()
        return _ENCODER.encode(decoder.decode(raw)) == raw
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def strict(raw: bytes) -> Intake:
    """Return ``raw`` as one strict JSON object, unchanged where it is one already. Never raises, whatever the bytes are."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return Intake(_strict(raw.decode(errors="replace")).text, f"not UTF-8 at byte {error.start}")
    return _strict(text)


def _strict(text: str) -> Intake:
    raw = text.encode()
    if is_plain(raw):
        return Intake(text, None)
    pairs = _lenient_pairs(text)
    if pairs is None:
        return Intake(join({UNPARSED: text}), "not a JSON object")
    fields, repairs = _repair(pairs)
    if not repairs and _is_strict(raw):
        return Intake(text, None)
    return Intake(join(fields), "; ".join(repairs) or "a key is not strict JSON")


def _lenient_pairs(text: str) -> list[tuple[str, str]] | None:
    """Return the top-level fields in order, repeats included, as key and JSON text; None when ``text`` is not an object."""
    try:
        position = _skip_space(text, 0)
        if text[position] != "{":
            return None
        position = _skip_space(text, position + 1)
        pairs: list[tuple[str, str]] = []
        while text[position] != "}":
            if pairs:
                position = _expect(text, position, ",")
            key, position = scanstring(text, _expect_quote(text, position), False)
            start = _expect(text, _skip_space(text, position), ":")
            _, end = _LENIENT.raw_decode(text, start)
            pairs.append((key.encode(errors="backslashreplace").decode(), text[start:end]))
            position = _skip_space(text, end)
    except (ValueError, IndexError, RecursionError):
        return None
    return pairs if _skip_space(text, position + 1) == len(text) else None


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _expect(text: str, position: int, mark: str) -> int:
    if text[position] != mark:
        msg = f"{mark} expected at {position}"
        raise ValueError(msg)
    return _skip_space(text, position + 1)


def _expect_quote(text: str, position: int) -> int:
    if text[position] != '"':
        msg = f"a key expected at {position}"
        raise ValueError(msg)
    return position + 1


def _repair(pairs: list[tuple[str, str]]) -> tuple[dict[str, object], list[str]]:
    fields: dict[str, object] = {}
    repeated: dict[str, list[object]] = {}
    repairs: list[str] = []
    for key, span in pairs:
        value: object = Raw(span.encode())
        if not _is_strict_value(span):
            value = span
            repairs.append(f"field {key}: not strict JSON")
        if key in fields:
            repeated.setdefault(key, []).append(fields[key])
            repairs.append(f"field {key}: comes more than once")
        fields[key] = value
    if repeated:
        fields[REPEATED] = repeated
    return fields, repairs


def _is_strict_value(span: str) -> bool:
    return _is_strict(b'{"value":' + span.encode() + b"}")


def _is_strict(raw: bytes) -> bool:
    try:
        split(raw)
        if _SURROGATE.search(raw):
            json.dumps(json.loads(raw), ensure_ascii=False).encode()
    except (msgspec.DecodeError, RecursionError, ValueError):
        return False
    return True
