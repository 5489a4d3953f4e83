"""The one place that takes secrets out of text."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.redaction import RedactingFilter, redact, redact_json, remember_secret, safe_url

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


def test_known_keys_go_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    """A key that was loaded is removed from texts, JSON and log records with their exceptions."""
    remember_secret("fth_live_topsecret")
    assert redact("key fth_live_topsecret!") == "key [redacted]!"
    assert redact_json(b'{"a":"fth_live_topsecret"}') == b'{"a":"[redacted]"}'
    record = logging.LogRecord("x", logging.INFO, "f", 1, "asked %s with %s", (SIGNED, "fth_live_topsecret"), None)
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "asked https://media.example:8443/a/b.mp4 with [redacted]"
    del caplog


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
