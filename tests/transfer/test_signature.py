"""Containers are known by their first bytes, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.transfer import detect
from resources.transfer.signature import name_of_other

_PAD = bytes(600)
_MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes
_MP3_LOW_FRAME = b"\xff\xf3\x48\xc0" + bytes(140)  # MPEG-2 layer III, 32 kbit/s, 16 kHz: 144 bytes
_ADTS_FRAME = b"\xff\xf1\x60\x40\x03\x9f\xfc" + bytes(21)  # AAC LC, 16 kHz: 28 bytes


def _ftyp(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0isommp42" + _PAD


def _ogg(packet: bytes) -> bytes:
    return b"OggS\0\x02" + bytes(20) + b"\1\x13" + packet + _PAD


def _ebml(doc_type: bytes) -> bytes:
    return b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\xf7\x81\x01\x42\x82" + bytes([0x80 + len(doc_type)]) + doc_type + _PAD


_MEDIA = {
    "mp4": [_ftyp(b"isom"), _ftyp(b"mp42"), _ftyp(b"avc1"), _ftyp(b"dash"), _ftyp(b"iso5"), _ftyp(b"M4V ")],
    "m4a": [_ftyp(b"M4A ")],
    "mov": [_ftyp(b"qt  "), b"\0\0\0\x08wide\0\1\0\0mdat" + _PAD, b"\0\1\0\0moov" + _PAD],
    "3gp": [_ftyp(b"3gp4"), _ftyp(b"3g2a")],
    "webm": [_ebml(b"webm")],
    "mkv": [_ebml(b"matroska")],
    "wav": [b"RIFF\0\1\0\0WAVEfmt " + _PAD, b"RF64\xff\xff\xff\xffWAVEds64" + _PAD],
    "avi": [b"RIFF\0\1\0\0AVI LIST" + _PAD],
    "opus": [_ogg(b"OpusHead\1\1")],
    "ogg": [_ogg(b"\x01vorbis"), _ogg(b"\x7fFLAC")],
    "ogv": [_ogg(b"\x80theora"), _ogg(b"fishead\0")],
    "flac": [b"fLaC\0\0\0\x22" + _PAD],
    "mp3": [b"ID3\4\0\0\0\0\0\x23TSSE" + _PAD, b"ID3\3\0\0\0\0\0\0" + _MP3_FRAME * 2, _MP3_FRAME * 3, _MP3_LOW_FRAME * 3],
    "aac": [_ADTS_FRAME * 3, b"ID3\4\0\0\0\0\0\0" + _ADTS_FRAME * 2],
    "amr": [b"#!AMR\n\x3c" + _PAD],
    "awb": [b"#!AMR-WB\n\x3c" + _PAD],
    "caf": [b"caff\0\1\0\0desc" + _PAD],
}

_NO_MEDIA = {
    "an HTML page": b"<!DOCTYPE html><html>ftyp OggS fLaC" + b" " * 99,
    "a JSON document": b' {"error": "ID3"}' + b" " * 99,
    "an XML document": b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "an SVG picture": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>' + b" " * 99,
    "gzip data": b"\x1f\x8b\x08" + _PAD,
    "a zip archive": b"PK\x03\x04" + _PAD,
    "text": b"ID3 tags are explained on another page, since this one has moved" + b" " * 99,
    "nothing": b"",
}
_NO_MEDIA_EITHER = [
    b"see ftyp boxes explained here" + _PAD,
    b"RIFF is a container and so on" + _PAD,
    b"RIFF\0\1\0\0WEBPVP8 " + _PAD,
    b"OggS is a page of an Ogg stream" + _PAD,
    b"\xff\xfbcaf\xe9 in Latin-1, and no frame at all" + _PAD,
    b"\xff\xfe<\0h\0t\0m\0l\0>\0" + _PAD,
    b"\xff\xd8\xff\xe0\0\x10JFIF\0" + _PAD,
    _MP3_FRAME + b"and then no second frame" + _PAD,
    b"ID3\xff\0\0\0\0\0\x23" + _PAD,
    b"ID3\4\0\0\xff\0\0\x23" + _PAD,
    _ftyp(b"heic"),
    _ftyp(b"avif"),
    _ebml(b"other"),
    b"wavemoov and mdat, in a sentence" + _PAD,
    b"\x7fELF" + _PAD,
    b"%PDF-1.7" + _PAD,
]


@pytest.mark.parametrize(("extension", "number"), [(name, n) for name, heads in _MEDIA.items() for n in range(len(heads))])
def test_each_container_is_known(extension: str, number: int) -> None:
    """A container is found from its first bytes, with the extension that its file will have."""
    found = detect(_MEDIA[extension][number])
    assert found is not None
    assert found.extension == extension
    assert found.content_type.startswith(("audio/", "video/"))


@pytest.mark.parametrize("name", _NO_MEDIA)
def test_error_pages_and_archives_are_named_and_refused(name: str) -> None:
    """What comes instead of a recording is never a container, and has a name for the message."""
    assert detect(_NO_MEDIA[name]) is None
    assert name_of_other(_NO_MEDIA[name]) == name


@pytest.mark.parametrize("number", range(len(_NO_MEDIA_EITHER)))
def test_a_mark_alone_is_no_evidence(number: int) -> None:
    """Text, pictures and programs that begin like a container, or nearly, are refused."""
    assert detect(_NO_MEDIA_EITHER[number]) is None


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=0, max_size=300))
def test_plain_text_is_never_media(text: str) -> None:
    """No printable ASCII text is taken for a recording, except AMR's and FLAC's own marks."""
    if not text.startswith("fLaC"):
        assert detect(text.encode()) is None


@given(st.binary(max_size=200), st.sampled_from([head[:16] for heads in _MEDIA.values() for head in heads]))
def test_any_bytes_are_judged_without_an_error(tail: bytes, mark: bytes) -> None:
    """Cut or broken heads give an answer, never an exception."""
    detect(tail)
    detect(mark + tail)
    name_of_other(mark + tail)
