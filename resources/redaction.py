"""The one place that takes secrets out of text: query strings of URLs, and known keys.

A presigned URL is a secret for as long as it lives (``docs/architecture.md``, "Secrets"). Everything that leaves the process as
text (log records, error texts, Dagster metadata, raw JSON in the lake) passes :func:`redact` or :func:`redact_json`; what other
code writes by itself (log records of libraries, tracebacks, warnings) does so once :func:`guard_process` was called.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from types import TracebackType
from urllib.parse import unquote, urlsplit

import msgspec

from resources.known_secrets import MIN_SECRET_LENGTH, REDACTED, secrets
from resources.link_fields import Nested, in_link_field, may_nest, text_of

_REDACTED_BYTES = REDACTED.encode()

# Text may hold JSON inside JSON, at any depth: ``/``, ``&``, ``?`` and ``=`` then come with backslashes before them, or as an
# escape. A query never swallows a backslash that could belong to ``\"``: the inner JSON must stay valid. Every repetition is
# possessive or bounded, and a URL without a query is passed over as a whole: a hostile text takes linear time (a test holds it).
_HEX = "[0-9a-fA-F]{4}"
_SLASHES = r"(?:/|\\++/|\\++u002[fF])"
_ADDRESS = rf"""[A-Za-z][A-Za-z0-9+.-]{{1,15}}:{_SLASHES}{{2}}(?:[^\s"'<>?#\\]|\\++(?:/|u(?!003[fF]|0023){_HEX}))*+"""
_QUERY = rf"""(?:[?#]|\\++u003[fF])(?:[^\s"'<>\\]|\\++(?:/|u{_HEX}))*+"""
_URL = re.compile(rf"({_ADDRESS})({_QUERY})?")
_ONE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s?#]*+")
# The same as the beginning of a JSON string: nothing to decode in it, and no user.
_PLAIN_ADDRESS = re.compile(rb"""\"[A-Za-z][A-Za-z0-9+.-]{1,15}://[!$->A-\[\]-~]*+""")
_BLANK = re.compile(r"\s")
_USERINFO = re.compile(r"""(?<=://)[^\s/@"'<>?#\\]++@|(?<=\\/\\/)[^\s/@"'<>?#\\]++@""")

# What makes a query a credential: the parameters of S3, GCS, Azure and CloudFront signatures, and tokens by name.
_BEGINS = r"(?:[?&;#]|(?<!\\)\\++u(?:0026|003f)|%(?:25)*+(?:26|3f|23))(?:amp;)?"
_EQUALS = r"(?:=|\\++u003d|%(?:25)*+3d)"
_SIGNED = r"x-(?:amz|goog)-[a-z-]{1,40}|awsaccesskeyid|googleaccessid|key-pair-id"
_NAMED = r"signature|policy|sig|[a-z_-]{0,40}token|api[_-]?key|jwt|access[_-]?key|secret"
# What a text that bears one of their names has before an equals sign, or what it is not without.
_ENDINGS = (
    "sig", "signature", "token", "policy", "key", "jwt", "secret", "sv", "se", "auth", "expires",
    "accesskeyid", "accessid", "key-pair-id",
)  # fmt: skip
_BYTE_ENDINGS = tuple(ending.encode() for ending in _ENDINGS)
_BEGINNING = "x-"
_BYTE_BEGINNING = _BEGINNING.encode()
_CREDENTIAL = re.compile(rf"(?i){_BEGINS}(?:{_SIGNED}|{_NAMED}|sv|se|auth|expires){_EQUALS}")
# The last net, for what does not look like a URL as a whole: a query that was cut off, an address without a scheme. Names that
# nothing else bears are enough; the others must stand where a parameter begins.
_PARAMETER = re.compile(rf"""(?i)((?:{_SIGNED}|{_BEGINS}(?:{_NAMED})){_EQUALS})(?!\[redacted\])[^\s"'<>&\\]++""")

# What a library's debug log shows of a request: the value of an Authorization header, and a signature by its name.
_HEADER_VALUE = re.compile(
    r"""(?i)(\b(?:bearer|basic|negotiate)\s{1,2}|signature["']?\s?[:=]\s?["']?)[A-Za-z0-9+/=_.~%-]{16,}+"""
)

# In raw JSON: a mark without which a string holds no credential (a query, a parameter, a password before a host) ...
_BARE_MARKS = (b"?", b"=", b"@", b"%")
_MARKS = (*_BARE_MARKS, b"\\u00")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[0-9-][0-9.eE+-]*+', re.DOTALL)

_BACKSLASH = ord("\\")
_QUERY_BEGINS = ("?", "#")
# In lists and objects in a field of live links, a query is a credential if a part of it is as long as a secret is at least: what
# is shorter is a page number, and would have to be looked up in nearly every row, which takes as long as all the rest.
_FACT, _LONG, _SUSPECT = range(3)
_LONG_PART = re.compile(r"[^?#&;=]{6}")


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
    text = _URL.sub(r"\1", text)
    text = _PARAMETER.sub(_without_value, _without_user(text))
    return secrets().removed_from(_HEADER_VALUE.sub(rf"\1{REDACTED}", text))


def redact_json(raw: bytes) -> bytes:
    """Return a JSON document with the query strings of presigned URLs in its strings, and all known keys, removed.

    A query without a credential in it (the start page of a browser run, say) is a fact and stays. In a field that holds live
    links any query goes; in lists and objects in such a field, any that has a part of six characters, the least length of a
    secret. A known key goes however its characters are escaped; a number that holds one becomes a string. Only strings that
    change are written anew, so that numbers, key order and spacing stay as the provider sent them, and valid JSON stays valid.
    """
    raw = _without_queries(raw) if b"\\" in raw else _without_plain_queries(raw)
    return _without_known(raw) if secrets().in_bytes(raw) else raw


def redact_documents(documents: Sequence[bytes]) -> list[bytes]:
    """Return what :func:`redact_json` makes of each of many strict JSON documents. Looking at all of them at once is quicker."""
    text = b"\n".join(documents)
    # A backslash or a known key is slow for all; a document may have lines itself.
    if b"\\" in text or text.count(b"\n") != len(documents) - 1 or secrets().in_bytes(text):
        return [redact_json(document) for document in documents]
    return _without_plain_queries(text).split(b"\n")


def _without_queries(raw: bytes) -> bytes:
    parts: list[bytes] = []
    done = end = 0
    nested = Nested(raw)
    # Where each kind of mark comes next. Five searches for a byte take a tenth of the time of one regular expression (measured:
    # 1 us against 11 a row of 1.3 kB).
    marks = [(place, mark) for mark in (*_MARKS, *secrets().marks) if (place := raw.find(mark)) >= 0]
    while marks:
        start, end = _string_around(raw, min(marks)[0], end)
        string = raw[start:end]
        clean = _redacted_string(string, start, nested, is_link=in_link_field(raw, start))
        if clean != string:
            parts += (raw[done:start], clean)
            done = end
        later: list[tuple[int, bytes]] = []
        for place, mark in marks:
            if place >= end:
                later.append((place, mark))
            elif (following := raw.find(mark, end)) >= 0:
                later.append((following, mark))
        marks = later
    return b"".join((*parts, raw[done:])) if parts else raw


def _without_plain_queries(raw: bytes) -> bytes:  # noqa: C901 -- one loop, in which a call takes as long as a step
    """Return the same of documents without a backslash, as most are: each quote is the beginning or the end of a string.

    What nearly all strings with a mark are is told from their bytes: a link and nothing else, or a text with nothing to hide.
    """
    parts: list[bytes] = []
    done = end = 0
    is_flat = False  # no link field in it has a list or an object; looked at once, where it matters
    find, after_all = raw.find, len(raw) + 1
    # Four names and their remainders (of -1, the end): a list of them takes three times as long.
    query, equals, user, percent = (find(mark) % after_all for mark in _BARE_MARKS)
    while (place := min(query, equals, user, percent)) < len(raw):
        start, end = raw.rfind(b'"', end, place), find(b'"', place) + 1
        if start < 0 or not end:  # no JSON
            return _without_queries(raw)
        is_link = in_link_field(raw, start)
        if is_link and place == query and (link := _PLAIN_ADDRESS.match(raw, start)) is not None and link.end() == place:
            parts.append(raw[done:place])
            done = end - 1
        else:
            look = (
                _SUSPECT
                if is_link or user < end or percent < end
                else _look(raw[place:end] if place == query else raw[start:end])
            )
            if look and not is_flat:
                if may_nest(raw):
                    return _without_queries(raw)
                is_flat = True
            if look == _SUSPECT:
                parts += (raw[done:start], _redacted_string(raw[start:end], start, None, is_link=is_link))
                done = end
        if query < end:
            query = find(b"?", end) % after_all
        if equals < end:
            equals = find(b"=", end) % after_all
        if user < end:
            user = find(b"@", end) % after_all
        if percent < end:
            percent = find(b"%", end) % after_all
    return b"".join((*parts, raw[done:])) if parts else raw


def _without_known(raw: bytes) -> bytes:
    """Return a document without the known secrets that stand in it as plain bytes."""
    raw = _TOKEN.sub(_without_known_in, raw)
    if secrets().in_bytes(raw) and not _is_json(raw):  # else what is left is in no string and no number: punctuation
        for _, secret in secrets().plain:
            raw = raw.replace(secret, _REDACTED_BYTES)
    return raw


def _without_known_in(match: re.Match[bytes]) -> bytes:
    token: bytes = match.group()
    if not secrets().in_bytes(token):
        return token
    text = text_of(token) if token.startswith(b'"') else ""
    if text is None:
        return token
    return encode_basestring_ascii(secrets().removed_from(text) or REDACTED).encode()


def _is_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _string_around(raw: bytes, position: int, after: int) -> tuple[int, int]:
    """Return the bounds of the JSON string that holds ``position``; of all that is left, where this is no JSON."""
    quote = raw.rfind(b'"', after, position)
    while quote > after and raw[quote - 1] == _BACKSLASH and _is_escaped(raw, quote):
        quote = raw.rfind(b'"', after, quote)
    string = _STRING.match(raw, quote) if quote >= 0 else None
    return string.span() if string is not None and string.end() > position else (after, len(raw))


def _is_escaped(raw: bytes, quote: int) -> bool:
    start = quote
    while start and raw[start - 1] == _BACKSLASH:
        start -= 1
    return (quote - start) % 2 == 1


def _redacted_string(string: bytes, start: int, nested: Nested | None, *, is_link: bool) -> bytes:
    """Return a JSON string, which begins at ``start``, without credentials; None where no field of links has ``nested`` ones."""
    text = text_of(string)
    if text is None:
        return _redacted_value(string.decode(errors="surrogateescape"), is_link=is_link).encode(errors="surrogateescape")
    is_link = is_link or (nested is not None and _has_long_query(text) and nested.holds(start))
    clean = _redacted_value(text, is_link=is_link)
    if _BACKSLASH in string:  # else a known secret in it stands as plain bytes, and goes with those
        clean = secrets().removed_from(clean)
    return string if clean == text else encode_basestring_ascii(clean).encode()


def _has_long_query(text: str) -> bool:
    address = _ONE_URL.match(text)
    return (
        address is not None
        and text[address.end() : address.end() + 1] in _QUERY_BEGINS
        and _LONG_PART.search(text, address.end()) is not None
    )


def _look(query: bytes) -> int:
    """Tell cheaply what a string may hold, by what it has from its first mark on; no percent sign, at sign or backslash is in it.

    Returns:
        ``_SUSPECT`` where it may be a credential by its name (see :func:`_may_have_credential`); ``_LONG`` where it may be one
        only below a field of live links, by its length; else ``_FACT``.
    """
    if not query.isascii():
        return _SUSPECT
    query = query.lower()
    if _BYTE_BEGINNING in query:
        return _SUSPECT
    found = _FACT
    for part in query.split(b"="):
        if part.endswith(_BYTE_ENDINGS):
            return _SUSPECT
        if len(part) >= MIN_SECRET_LENGTH:  # a mark or a quote is a part of it
            found = _LONG
    return found


def _redacted_value(text: str, *, is_link: bool) -> str:
    plain = "%" not in text and "\\" not in text
    if plain and not is_link and not _may_have_credential(text):
        return _without_user(text)
    has_credential = True
    address = _ONE_URL.match(text)
    if address is not None and len(text) > address.end():
        query = text[address.end() :]
        if query[0] in _QUERY_BEGINS:
            # A URL that fills its string ends with it: quotes and brackets belong to the query, and blanks in a link field.
            has_credential = is_link or _is_credential(query)
            if is_link or (has_credential and not _BLANK.search(query)):
                return _without_user(address.group())
    if has_credential or not plain:  # else each query in the text is a part of the one that was looked at
        text = _URL.sub(_without_credential, text)
    return _PARAMETER.sub(_without_value, _without_user(text))


def _may_have_credential(text: str) -> bool:
    """Tell cheaply that neither _CREDENTIAL nor _PARAMETER can match in a text without percent signs and backslashes."""
    if "=" not in text:
        return False
    if not text.isascii():  # a regular expression that ignores case takes some other letters for ASCII ones
        return True
    lower = text.lower()
    if _BEGINNING in lower:
        return True
    for part in lower.split("="):  # noqa: SIM110 -- a generator takes as long again
        if part.endswith(_ENDINGS):
            return True
    return False


def _without_value(match: re.Match[str]) -> str:
    return match.group(1) + REDACTED


def _without_user(text: str) -> str:
    return _USERINFO.sub("", text) if "@" in text else text


def _without_credential(match: re.Match[str]) -> str:
    address: str = match.group(1)
    query: str | None = match.group(2)
    return address if query is None or _is_credential(query) else address + query


def _is_credential(query: str) -> bool:
    return _CREDENTIAL.search(query) is not None or ("%" in query and _CREDENTIAL.search(unquote(query)) is not None)


def clean(record: logging.LogRecord) -> logging.LogRecord:
    """Redact the message and the exception text of a log record, in place; one without secrets stays as it is."""
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 -- a faulty call: logging would print message and arguments as they are
        message = f"{record.msg} {record.args}"
        record.msg, record.args = message, None
    safe = redact(message)
    if safe != message:
        record.msg, record.args = safe, None
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    if record.exc_text:
        record.exc_text = redact(record.exc_text)
        record.exc_info = None  # a handler would format it anew
    return record


_guarded = threading.Lock()


def guard_process() -> None:
    """Have everything that any code of this process logs, warns of or dies of redacted before it is written. Once is enough.

    Log records are cleaned as they are made, whichever library makes them, at whichever level, for whichever handler (Dagster's
    event log is one). Uncaught exceptions, of threads and of callbacks too, and warnings are cleaned before they are printed; a
    hook that somebody has put in the interpreter's place stays.
    """
    if not _guarded.acquire(blocking=False):
        return
    make_record = logging.getLogRecordFactory()
    format_warning = warnings.formatwarning

    def make_clean_record(*args: object, **kwargs: object) -> logging.LogRecord:
        return clean(make_record(*args, **kwargs))

    def format_clean_warning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return redact(format_warning(message, category, filename, lineno, line))

    logging.setLogRecordFactory(make_clean_record)
    warnings.formatwarning = format_clean_warning
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print_exception
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _print_of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _print_unraisable


def _print_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] -- pythonw, or a closed stream
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _print_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        _print_exception(args.exc_type, args.exc_value, args.exc_traceback)


def _print_unraisable(args: sys.UnraisableHookArgs) -> None:
    _print_exception(args.exc_type, args.exc_value, args.exc_traceback)
