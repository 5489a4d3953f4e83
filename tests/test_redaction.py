"""The one place that takes secrets out of text."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from itertools import cycle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources import known_secrets, redaction
from resources.known_secrets import remember_secret
from resources.redaction import clean, redact, redact_documents, redact_json, safe_url

SIGNED = "https://media.example:8443/a/b.mp4?X-Amz-Date=1&X-Amz-Signature=c0ffee"
CREDENTIALS = [
    "X-Amz-Signature",
    "X-Goog-Signature",
    "Signature",
    "sig",
    "token",
    "access_token",
    "Key-Pair-Id",
    "AWSAccessKeyId",
]


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_query_survives_in_a_text(before: str, after: str) -> None:
    """Wherever a URL stands in a text, its query goes and its address stays."""
    text = redact(f"{before} {SIGNED} {after}")
    assert "c0ffee" not in text
    assert "https://media.example:8443/a/b.mp4" in text


@pytest.mark.parametrize("name", CREDENTIALS)
@pytest.mark.parametrize("spelling", ["plain", "escaped", "go"])
def test_every_kind_of_signature_goes_from_json(name: str, spelling: str) -> None:
    """Signatures of S3, GCS, Azure, CloudFront and tokens go, however the JSON writes its slashes and ampersands."""
    raw = json.dumps({"note": f"see https://h.example/x.wav?a=1&{name}=c0ffee now", "n": 1.50, "list": [1, {"k": "v"}]})
    if spelling == "escaped":
        raw = raw.replace("/", "\\/")
    if spelling == "go":
        raw = raw.replace("&", "\\u0026").replace("?", "\\u003f")
    found = redact_json(raw.encode())
    assert b"c0ffee" not in found
    assert json.loads(found) == {"note": "see https://h.example/x.wav now", "n": 1.5, "list": [1, {"k": "v"}]}


SECRET_PLACES = {
    "in JSON inside JSON": json.dumps({"log": json.dumps({"u": f"{SIGNED}&b=1"}).replace("&", "\\u0026").replace("/", "\\/")}),
    "after a quote": json.dumps({"u": "https://h/x?a='b'&X-Amz-Signature=c0ffee"}),
    "after a blank": json.dumps({"u": "https://h/x?disposition=attachment; filename=a&X-Amz-Signature=c0ffee"}),
    "after a bracket": json.dumps({"u": "https://h/x?a=<b>&Signature=c0ffee"}),
    "in capitals": json.dumps({"u": "HTTPS://H/x?X-AMZ-SIGNATURE=c0ffee"}),
    "as a password": json.dumps({"u": "https://bob:c0ffee@h/x"}),
    "in a URL inside a URL": json.dumps({"u": "https://player/?src=https%3A%2F%2Fs3%2Fx%3Fa%3D1%26X-Amz-Signature%3Dc0ffee"}),
    "in a fragment": json.dumps({"u": "https://h/x#access_token=c0ffee"}),
    "without a scheme": json.dumps({"u": "//h/x?X-Amz-Signature=c0ffee"}),
    "without a host": json.dumps({"u": "/x?token=c0ffee"}),
    "with escaped slashes": r'{"u":"https:\u002f\u002fh\u002fx?X-Amz-Signature=c0ffee"}',
    "behind letters of the world": json.dumps({"u": "https://h/\u00e9/x?t=\u00e9&X-Amz-Signature=c0ffee"}),
    "in markup": json.dumps({"u": '<a href="https://h/x?a=1&amp;X-Amz-Signature=c0ffee">'}),
    "under another scheme": json.dumps({"u": "s3://h/x?X-Amz-Signature=c0ffee"}),
    "with an encoded name": json.dumps({"u": "https://h/x?X%2DAmz%2DSignature=c0ffee"}),
    "behind a backslash": json.dumps({"u": "https://h\\x?X-Amz-Signature=c0ffee"}),
    "as a key": json.dumps({"https://h/x?X-Amz-Signature=c0ffee": 1}),
}


@pytest.mark.parametrize("place", list(SECRET_PLACES))
def test_a_credential_hides_nowhere(place: str) -> None:
    """However a URL is written, its credential goes, from JSON and from text; JSON stays JSON; once more changes nothing."""
    raw = SECRET_PLACES[place]
    found = redact_json(raw.encode())
    assert b"c0ffee" not in found
    json.loads(found)
    assert redact_json(found) == found
    if place not in {"with an encoded name", "as a password"}:
        assert "c0ffee" not in redact(raw)


def test_redacting_leaves_everything_else_to_the_byte() -> None:
    """Spacing, escapes, number formats and words that only look like credentials stay as they were sent."""
    raw = rb"""{ "n": 1.50, "e":"\u00e9\/ 50% = half? me@example.com", "assigned_url":"https:\/\/h\/x?q=1",
        "note": "token = a word, signature: none", "u":"https://h/x?X-Amz-Signature=c0ffee", "z":[1e3, "\ud83d\ude00?"] }"""
    assert redact_json(raw) == raw.replace(b"?X-Amz-Signature=c0ffee", b"")


@pytest.mark.parametrize(
    "pattern",
    [
        *("a://", "https://x?", "\\", '\\"', "%25", "&", "x-amz-", "token", "=", "@", "://", "\\u0026", '"', "?a", "&a="),
        *("recording", '"recording":[', '"recording":"?aaaaaa",', "{", "sk-abc", "sk-abc\\/", "sk/abc+\\\\", "\\u0073", "1"),
    ],
)
@pytest.mark.usefixtures("_two_known_keys")
def test_hostile_texts_take_linear_time(pattern: str) -> None:
    """No text that a provider or a server can send keeps a run busy: a third of a megabyte takes well below a second."""
    text = pattern * (300_000 // len(pattern))
    begun = time.process_time()
    redact(text)
    redact_json(json.dumps({"a": text, "b": {"c": [text]}}).encode())
    redact_json(text.encode())
    assert time.process_time() - begun < 3


def test_a_link_at_the_start_of_a_note_does_not_take_the_note_along() -> None:
    """Only the query goes; what people wrote after it stays."""
    raw = json.dumps({"note": "https://h/x?X-Amz-Signature=c0ffee was the call, she said 'yes'"}).encode()
    assert json.loads(redact_json(raw)) == {"note": "https://h/x was the call, she said 'yes'"}


def test_queries_without_credentials_are_facts() -> None:
    """The start page of a browser run keeps its query."""
    raw = json.dumps({"start": "https://shop.example/?q=shoes&page=2", "expiresIn": 5}).encode()
    assert redact_json(raw) == raw


@pytest.mark.parametrize("field", ["recordingUrl", "browserRecordingUrl", "liveViewUrl", "browserLiveViewUrl", "recording_url"])
def test_the_fields_that_hold_live_links_lose_every_query(field: str) -> None:
    """In the providers' own link fields any query is a credential, whatever it is called."""
    raw = json.dumps({field: "https://live.example/view?session=c0ffee"}).encode()
    assert json.loads(redact_json(raw)) == {field: "https://live.example/view"}


@given(
    st.recursive(
        st.text(max_size=30) | st.integers() | st.just(SIGNED),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    )
)
def test_json_stays_json(document: object) -> None:
    """Redacting never breaks a document, and never leaves the signature in it."""
    found = redact_json(json.dumps(document).encode())
    json.loads(found)
    assert b"c0ffee" not in found


_MARKED = st.lists(
    st.sampled_from(
        [
            "https://",
            "s3://h/x",
            "?",
            "&",
            "=",
            "#",
            "@",
            "%3F",
            "%",
            "page=1",
            "Signature=c0ffee",
            "sig=",
            "X-Amz-",
            "a",
            " ",
            "é",
            "'",
        ]
    ),
    max_size=7,
).map("".join)
_FIELDS_AND_TEXTS = st.dictionaries(st.sampled_from(["recordingUrl", "url", "live_view", "x" * 110, "note"]), _MARKED, min_size=1)


@given(st.lists(_FIELDS_AND_TEXTS, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_many_documents_and_few_marks_make_no_difference(
    documents: list[dict[str, str]], ascii_only: bool, indent: int | None
) -> None:
    """A document reads the same alone, among others, and with a line break in it, of which no quick way is taken."""
    texts = [json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode() for document in documents]
    alone = [redact_json(text) for text in texts]
    assert redact_documents(texts) == alone
    last = b',"n":"\\n"}'
    assert [redact_json(text[:-1] + last) for text in texts] == [found[:-1] + last for found in alone]


PIECES = st.sampled_from(
    [*CREDENTIALS, "secret", "api-key", "policy", "jwt", "sv", "se", "auth", "Expires", "to\u212aen", "\u017fig", "s\u0131g", "x"]
)


@given(st.lists(PIECES | st.sampled_from(["?", "&", "#", ";", "&amp;", "=", "https://h/x", "y", " "]), max_size=8).map("".join))
def test_the_quick_look_misses_no_credential(text: str) -> None:
    """What is passed over without a search has nothing that the search would find, in whatever letters."""
    if not redaction._may_have_credential(text):
        assert redaction._CREDENTIAL.search(text) is None
        assert redaction._PARAMETER.search(text) is None


KEY = 'sk/abc+"def\u00e9/x\\yz=='
UNQUOTED_KEY = "sk-abc/def+/xyz"  # no character of it marks a query


@pytest.fixture
def _two_known_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_secrets, "_known", set())
    monkeypatch.setattr(known_secrets, "_secrets", known_secrets.Secrets())
    remember_secret(KEY)
    remember_secret(UNQUOTED_KEY)


def _spell(text: str, choices: Iterator[int]) -> str:
    """Return a JSON string of ``text``, each character spelled in one of the ways that JSON allows."""
    spelled: list[str] = []
    for letter in text:
        units = letter.encode("utf-16-be", "surrogatepass")
        codes = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
        ways = ["".join(f"\\u{code}" for code in codes), "".join(f"\\u{code.upper()}" for code in codes)]
        if letter in '"\\/':
            ways.append(f"\\{letter}")
        if letter not in '"\\' and letter >= " ":
            ways += [letter] * 3
        spelled.append(ways[next(choices, 0) % len(ways)])
    return f'"{"".join(spelled)}"'


def _json_of(value: object, choices: Iterator[int]) -> str:
    if isinstance(value, str):
        return _spell(value, choices)
    if isinstance(value, list):
        return f"[{', '.join(_json_of(each, choices) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_spell(name, choices)}:{_json_of(each, choices)}' for name, each in value.items())}}}"
    return json.dumps(value)


def _strings_changed(value: object, change: Callable[[str, bool], str], below: bool = False) -> object:
    """Return a document with its strings changed; ``change`` is told whether a string lies below a field of live links."""
    if isinstance(value, str):
        return change(value, below)
    if isinstance(value, list):
        return [_strings_changed(each, change, below) for each in value]
    if isinstance(value, dict):
        return {change(name, below): _strings_changed(each, change, below or name in LINK_FIELDS) for name, each in value.items()}
    return value


def _without_keys(text: str, _below: bool) -> str:
    for key in (KEY, UNQUOTED_KEY):
        text = text.replace(key, "[redacted]")
    return text


WORDS = st.lists(st.sampled_from([KEY, UNQUOTED_KEY, "a", "sk", "/", '"', "\\", "{", "]", "\u00e9", "\U0001f600"]), max_size=5)
TEXTS = WORDS.map("".join)
DOCUMENTS = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.usefixtures("_two_known_keys")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS, st.just([2]) | st.lists(st.integers(0, 5), max_size=60))  # 2: slashes, quotes and backslashes alone
def test_a_known_key_goes_however_its_characters_are_escaped(document: object, choices: list[int]) -> None:
    """The same document results as if each of its strings were searched once it is decoded; without a key, the same bytes."""
    raw = _json_of(document, cycle(choices or [0])).encode()
    found = redact_json(raw)
    if document == _strings_changed(document, _without_keys):
        assert found == raw
    else:
        assert json.loads(found) == _strings_changed(document, _without_keys)
    assert redact_documents([raw, b"{}"]) == [found, b"{}"]


@pytest.mark.usefixtures("_two_known_keys")
@pytest.mark.parametrize(
    "spelled",
    [
        r"sk-abc\/def+\/xyz",
        r"\u0073k-abc\u002fdef+\u002Fxyz",
        r"sk-abc\\\/def+\\\/xyz",  # JSON inside JSON
        r"sk-abc\\u002fdef+/xy\\u007a",
        r"sk-abc%2Fdef%2B%2Fxyz",
    ],
)
def test_spellings_of_a_key_that_were_met(spelled: str) -> None:
    """Escaped slashes, letters by number, JSON inside JSON and percent encoding, in documents and in texts."""
    assert (
        redact_json(f'{{"detail":"key {spelled} is wrong","n":1.50}}'.encode())
        == b'{"detail":"key [redacted] is wrong","n":1.50}'
    )
    assert redact(f'{{"key":"{spelled}"}}') == '{"key":"[redacted]"}'


@pytest.mark.usefixtures("_two_known_keys")
def test_a_document_stays_json_where_a_key_is_a_number_or_punctuation() -> None:
    """A number that holds a key becomes a string, and what spells a key between two strings is none."""
    remember_secret("20261120")
    remember_secret('a","b":"c')
    assert redact_json(b'{"n":20261120,"m":[120261120.5e3,7]}') == b'{"n":"[redacted]","m":["[redacted]",7]}'
    assert redact_json(b'{"k":"a","b":"c"}') == b'{"k":"a","b":"c"}'
    assert redact_json(b"no JSON: sk-abc/def+/xyz") == b"no JSON: [redacted]"


LINK_FIELDS = ("recordingUrl", "recording", "recording-url", "Live-View-2", "signed_links")
NESTED_URLS = ("https://h/a.mp4?e=12345&h=SECRET", "https://h/a.mp4#t=c0ffeec0", "https://h/start?page=1", "https://h/a.mp4")
NESTED = st.recursive(
    st.sampled_from([*NESTED_URLS, "words: ]}", "a=b", 'quoted "?"']) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*LINK_FIELDS, "url", "assignedTo", "note", *NESTED_URLS]), inner, max_size=3)
    ),
    max_leaves=12,
)


def _without_long_query(text: str, below: bool) -> str:
    return text.partition("?")[0].partition("#")[0] if below and text in NESTED_URLS[:2] else text


@given(NESTED, st.lists(st.integers(0, 5), max_size=40), st.sampled_from([(",", ":"), (" ,\n", " : ")]))
def test_links_below_a_field_of_links_lose_their_query(document: object, choices: list[int], separators: tuple[str, str]) -> None:
    """In lists and objects however deep, whatever is escaped; beside such a field, and without it, a query is a fact."""
    wrapped: dict[str, object] = {"recordings": document, "other": document}
    changed = {
        "recordings": _strings_changed(document, _without_long_query, below=True),
        "other": _strings_changed(document, _without_long_query),
    }
    if isinstance(document, str):  # the field's own
        changed["recordings"] = document.partition("?")[0].partition("#")[0] if document in NESTED_URLS else document
    plain = json.dumps(wrapped, separators=separators).encode()
    documents = [plain, _json_of(wrapped, cycle(choices or [0])).encode()]
    for raw in documents:
        found = redact_json(raw)
        assert _values(json.loads(found)) == _values(changed)
        if _values(changed) == wrapped:
            assert found == raw
    assert redact_documents([plain, b"{}"]) == [redact_json(plain), b"{}"]


def _values(value: object) -> object:
    """Return a document for a comparison: a direct value of a field of links has lost any query, which is another test's."""
    if isinstance(value, dict):
        return {
            name: (
                each.partition("?")[0].partition("#")[0]
                if name in LINK_FIELDS and isinstance(each, str) and each in NESTED_URLS
                else _values(each)
            )
            for name, each in value.items()
        }
    return [_values(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b'{"recordingUrl":["https://h/a.mp4?e=12345&h=SECRET"]}', b'{"recordingUrl":["https://h/a.mp4"]}'),
        (b'{"recording":{"url":"https://h/a.mp4?e=12345&h=SECRET"}}', b'{"recording":{"url":"https://h/a.mp4"}}'),
        (b'{"recording-url":"https://h/a.mp4?x=1"}', b'{"recording-url":"https://h/a.mp4"}'),
        (rb'{"recording\u0055rl":"https://h/a.mp4?x=1"}', rb'{"recording\u0055rl":"https://h/a.mp4"}'),
        (
            b'{"LIVEVIEW" : [[{"a":"https://h/?SECRET"}]],"u":"https://h/?SECRET"}',
            b'{"LIVEVIEW" : [[{"a":"https://h/"}]],"u":"https://h/?SECRET"}',
        ),
        (b'{"assigned":["https://h/?SECRET"]}', b'{"assigned":["https://h/?SECRET"]}'),
    ],
)
def test_links_in_lists_objects_and_names_with_a_hyphen(raw: bytes, clean: bytes) -> None:
    """A provider that packs its links, or names them otherwise, publishes no credential by it."""
    assert redact_json(raw) == clean
    assert redact_documents([b"{}", raw]) == [b"{}", clean]


def test_known_keys_go_everywhere() -> None:
    """A key that was loaded is removed from texts, JSON and log records with their exceptions."""
    remember_secret("fth_live_topsecret")
    assert redact("key fth_live_topsecret!") == "key [redacted]!"
    assert redact_json(b'{"a":"fth_live_topsecret"}') == b'{"a":"[redacted]"}'
    record = logging.LogRecord("x", logging.INFO, "f", 1, "asked %s with %s", (SIGNED, "fth_live_topsecret"), None)
    assert clean(record).getMessage() == "asked https://media.example:8443/a/b.mp4 with [redacted]"


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        (SIGNED, "https://media.example:8443/a/b.mp4"),
        ("https://user:pass@h.example/x?y#z", "https://h.example/x"),
        ("http://[::1", "[redacted]"),
        ("/only/a/path?x=1", "/only/a/path"),
    ],
)
def test_safe_urls(url: str, safe: str) -> None:
    """A URL for a message has neither query nor password."""
    assert safe_url(url) == safe
