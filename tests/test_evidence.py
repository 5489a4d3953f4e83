"""What is kept of a body that was no recording holds no secret, however the body tells it, and is a kilobyte at most."""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.evidence import EVIDENCE_BYTES, Evidence, cleaned
from resources.known_secrets import remember_secret

SIGNATURE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
TOKEN = "IQoJb3JpZ2luX2VjEHoaCXVzLWVhc3QtMSJIMEYCIQD/example+token=="  # noqa: S105 -- invented, to be looked for
SHORT = "s3cr3t-sig"
KEY = "fth_live_canary_key_of_the_evidence"
URL = f"https://media.example.com/a/b.mp4?X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={quote(TOKEN, safe='')}&sig={SHORT}"
SECRETS = (SIGNATURE, TOKEN, quote(TOKEN, safe=""), SHORT, KEY)
remember_secret(KEY)

SAYINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "HTML": lambda text: f"<a href='{html.escape(text)}'>{html.escape(text)}</a>",
    "JSON": lambda text: json.dumps({"echo": text}),
    "JSON in JSON": lambda text: json.dumps({"echo": json.dumps({"url": text})}),
    "an XML element": lambda text: f"<StringToSign>{text}</StringToSign>",
    "quoted": lambda text: quote(text, safe=""),
}
PACKINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "gzip": lambda text: gzip.compress(text.encode()),
}
FILLING = st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P", "Z"]), max_size=1200)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("saying", SAYINGS)
@given(before=FILLING, after=FILLING, secret=st.sampled_from([URL, URL.partition("?")[2], *SECRETS]), cut=st.integers(0, 6000))
def test_no_secret_is_kept(saying: str, packing: str, before: str, after: str, secret: str, cut: int) -> None:
    """Wherever a secret stands, in whatever spelling and packing, and wherever the body was cut off."""
    body = PACKINGS[packing](f"{before} {SAYINGS[saying](secret)} {after}")
    kept = cleaned(body[:cut] if cut < len(body) else body, [URL])
    assert len(kept) <= EVIDENCE_BYTES
    text = kept.decode("latin-1").replace("\0", "")
    for each in SECRETS:
        assert each not in text
        assert each[:12] not in text or len(each) <= 12 or each[:12] in before + after, "not its beginning either"


@pytest.mark.parametrize("place", range(1000, 1050, 7))
def test_no_part_of_a_secret_is_left_where_the_kilobyte_ends(place: int) -> None:
    """A secret that begins within the kilobyte and ends beyond it is not kept in part."""
    body = b"x " * (place // 2) + SIGNATURE.encode() + b" and more " * 500
    assert SIGNATURE[:6].encode() not in cleaned(body, [URL])


def test_what_is_no_secret_stays_to_the_byte() -> None:
    """A person sees the page as it came."""
    page = b"<!doctype html><title>Wartung \xe2\x80\x94 503</title>\r\n<p>Request 550e8400-e29b-41d4-a716-446655440000\xff</p>"
    assert cleaned(page, [URL]) == page
    assert cleaned(gzip.compress(page), [URL], "gzip") == page


def test_what_cannot_be_unpacked_is_not_kept() -> None:
    """In a packing that is not known here a secret could not be found."""
    assert cleaned(b"anything", [URL], "br") == b""
    assert cleaned(b"\x1f\x8bno gzip at all", [URL]) == b""


@given(st.binary(max_size=5000), st.lists(st.text(max_size=50), max_size=3), st.text(max_size=10))
def test_any_bytes_are_taken(body: bytes, urls: list[str], encoding: str) -> None:
    """Nothing that a host may send, or a link may be, is an error."""
    assert len(cleaned(body, [f"https://h/?{url}" for url in urls], encoding)) <= EVIDENCE_BYTES


def test_the_bytes_show_in_no_text() -> None:
    """The evidence's own repr leaves them out."""
    assert "canary" not in repr(Evidence(b"canary", "text"))
