"""What a body is, by its first bytes, whatever its headers say.

An own table, because of what the libraries do with the bodies that matter. Tried: ``filetype`` 1.2.0 and ``puremagic`` 1.30. Both
call a page that begins with "ID3 tags are explained" and Latin-1 text that begins with 0xFF 0xFB ``audio/mpeg``, and
``puremagic`` calls an AVIF picture ``video/mp4``. Here a wrong "yes" stores an error page as a recording for ever, so a mark
alone is no evidence: the version, the size or the second frame behind it has to fit too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SIGNATURE_BYTES = 4096
"""How much of the body :func:`detect` wants to see; less is fine where there is no more."""


@dataclass(frozen=True, slots=True)
class Container:
    """A media container.

    Attributes:
        content_type: as registered with IANA, or as it is commonly written where it is not.
        extension: without a dot.
    """

    content_type: str
    extension: str


MP4 = Container("video/mp4", "mp4")
M4A = Container("audio/mp4", "m4a")
MOV = Container("video/quicktime", "mov")
THREE_GP = Container("video/3gpp", "3gp")
WEBM = Container("video/webm", "webm")
MKV = Container("video/x-matroska", "mkv")
WAV = Container("audio/wav", "wav")
AVI = Container("video/x-msvideo", "avi")
OGG = Container("audio/ogg", "ogg")
OGV = Container("video/ogg", "ogv")
OPUS = Container("audio/ogg", "opus")
FLAC = Container("audio/flac", "flac")
MP3 = Container("audio/mpeg", "mp3")
AAC = Container("audio/aac", "aac")
AMR = Container("audio/amr", "amr")
AMR_WB = Container("audio/amr-wb", "awb")
CAF = Container("audio/x-caf", "caf")

CONTAINERS = (MP4, M4A, MOV, THREE_GP, WEBM, MKV, WAV, AVI, OGG, OGV, OPUS, FLAC, MP3, AAC, AMR, AMR_WB, CAF)
"""Every recording that is known."""
TYPES = tuple(sorted({container.content_type for container in CONTAINERS}))


def allows(entries: Sequence[str], content_type: str) -> bool:
    """Say whether a list of types and wildcards (``audio/*``), in lower case, allows a type; an empty list allows all."""
    return not entries or content_type in entries or f"{content_type.partition('/')[0]}/*" in entries


# -- ISO base media (ISO/IEC 14496-12): a box is a 32-bit length, then four letters. Brands: https://mp4ra.org/registered-types/brands
_BOX_HEADER = 8
_MIN_FTYP, _MAX_FTYP = 16, 4096
_FTYP_BRANDS = {b"qt  ": MOV, b"M4A ": M4A, b"M4B ": M4A, b"M4P ": M4A, b"F4A ": M4A}
_THREE_GP_BRAND = re.compile(rb"3g[2epgrs][0-9a-z]", re.ASCII)
# Pictures live in the same boxes, and are no recordings.
_PICTURE_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"crx "}
_BRAND = re.compile(rb"[0-9A-Za-z_ .-]{4}")
# QuickTime files from before brands begin with one of these boxes (QuickTime File Format Specification, "Overview").
_PRINTABLE_SIZE = 0x20000000  # from here on the "length" may be four letters of a sentence
_OLD_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def _iso(head: bytes) -> Container | None:
    size = int.from_bytes(head[:4], "big")
    kind = head[4:8]
    if kind != b"ftyp":
        return MOV if kind in _OLD_QUICKTIME and _old_quicktime(head, size) else None
    brand = head[8:12]
    if not _MIN_FTYP <= size <= _MAX_FTYP or not _BRAND.fullmatch(brand) or brand in _PICTURE_BRANDS:
        return None
    if _THREE_GP_BRAND.fullmatch(brand):
        return THREE_GP
    return _FTYP_BRANDS.get(brand, MP4)


def _old_quicktime(head: bytes, size: int) -> bool:
    """A first box of a plausible size, and where it ends within sight, another box behind it."""
    if size >= _PRINTABLE_SIZE:
        return False
    if size == 1 or size > len(head) - _BOX_HEADER:  # a 64-bit length, or a box that goes on beyond what is seen
        return head[4:8] in {b"moov", b"mdat"}
    return size >= _BOX_HEADER and head[size + 4 : size + 8] in _OLD_QUICKTIME


# -- Matroska and WebM: EBML header with a DocType (RFC 8794, RFC 9559)
_EBML = b"\x1a\x45\xdf\xa3"
_DOC_TYPE = re.compile(rb"\x42\x82(?:[\x84-\x88]|\x40[\x04-\x08])(webm|matroska)")
_EBML_HEADER_BYTES = 256


def _ebml(head: bytes) -> Container | None:
    found = _DOC_TYPE.search(head, 0, _EBML_HEADER_BYTES)
    if found is None:
        return None
    return WEBM if found.group(1) == b"webm" else MKV


# -- RIFF (Multimedia Programming Interface and Data Specifications 1.0); RF64 and BW64 are its 64-bit forms (EBU Tech 3306, ITU
# BS.2088)
_RIFF_FORMS = {b"WAVE": WAV, b"AVI ": AVI}


def _riff(head: bytes) -> Container | None:
    return _RIFF_FORMS.get(head[8:12])


# -- Ogg (RFC 3533): the first page holds the first packet, which names the codec (RFC 5334)
_OGG_PAYLOAD = slice(26, 128)
_OGG_VIDEO = (b"theora", b"fishead\0", b"BBCD")


def _ogg(head: bytes) -> Container | None:
    if head[4:5] != b"\0":  # the only version there is
        return None
    packet = head[_OGG_PAYLOAD]
    if b"OpusHead" in packet:
        return OPUS
    return OGV if any(codec in packet for codec in _OGG_VIDEO) else OGG


# -- MPEG audio: an ID3v2 tag (https://id3.org/id3v2.4.0-structure) or bare frames (ISO/IEC 11172-3, 13818-3)
_ID3_HEADER = 10
_ID3_VERSIONS = {2, 3, 4}
_HIGH_BIT = 0x80
_BITRATES = {  # kbit/s by (MPEG-1?, layer), at index 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the version's bits
_FRAMES_WANTED = 2


def _id3(head: bytes) -> Container | None:
    version, sizes = head[3], head[6:10]
    if version not in _ID3_VERSIONS or any(byte & _HIGH_BIT for byte in sizes):
        return None
    size = sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3]
    behind = head[_ID3_HEADER + size :]
    return AAC if _adts_length(behind) else MP3  # AAC streams may carry ID3 too; what is out of sight is MP3, nearly always


def _mpeg_frame_length(head: bytes) -> int:
    """Return the bytes of the MPEG audio frame that ``head`` begins with, or 0 where it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 - eleven bits of sync
        return 0
    version, layer_bits = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate_index, sample_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer_bits == 0 or rate_index in {0, 15} or sample_index == 3:  # noqa: PLR2004 - the reserved values
        return 0
    layer = 4 - layer_bits
    bitrate = _BITRATES[version == 3, layer][rate_index - 1] * 1000  # noqa: PLR2004 - MPEG-1
    sample_rate = _SAMPLE_RATES[version][sample_index]
    if layer == 1:
        return (12 * bitrate // sample_rate + padding) * 4
    slots = 72 if layer == 3 and version != 3 else 144  # noqa: PLR2004 - layer III of MPEG-2 and 2.5 has half the samples
    return slots * bitrate // sample_rate + padding


def _adts_length(head: bytes) -> int:
    """Return the bytes of the ADTS frame that ``head`` begins with, or 0 (ISO/IEC 13818-7, 6.2)."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 0xF > 12:  # noqa: PLR2004 - sync, layer 0, rate
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0  # noqa: PLR2004 - longer than its own header


def _repeats(head: bytes, length_of: Callable[[bytes], int]) -> bool:
    """Say whether one frame follows another: eleven set bits alone are no evidence."""
    position = frames = 0
    while frames < _FRAMES_WANTED:
        length = length_of(head[position:])
        if not length:
            return False
        position += length
        frames += 1
        if position >= len(head):
            return position == len(head) or frames > 1
    return True


def _frames(head: bytes) -> Container | None:
    if _repeats(head, _adts_length):
        return AAC
    return MP3 if _repeats(head, _mpeg_frame_length) else None


# -- the table: where the mark is, what it is, and who reads on
_MARKS: tuple[tuple[int, bytes, Callable[[bytes], Container | None]], ...] = (
    (0, _EBML, _ebml),
    (0, b"RIFF", _riff),
    (0, b"RF64", _riff),
    (0, b"BW64", _riff),
    (0, b"OggS", _ogg),
    (0, b"fLaC", lambda _: FLAC),  # RFC 9639
    (0, b"ID3", _id3),
    (0, b"#!AMR-WB\n", lambda _: AMR_WB),  # RFC 4867, 5.1
    (0, b"#!AMR\n", lambda _: AMR),
    (0, b"caff\0\1", lambda _: CAF),  # Apple Core Audio Format Specification 1.0
    (0, b"\xff", _frames),
    *((4, kind, _iso) for kind in (b"ftyp", *sorted(_OLD_QUICKTIME))),
)
_SHORTEST = 12


def detect(head: bytes) -> Container | None:
    """Return the container that ``head`` begins, or None where it is no recording.

    Args:
        head: the first :data:`SIGNATURE_BYTES` of the body, or all of a shorter one.
    """
    if len(head) < _SHORTEST:
        return None
    for offset, mark, read_on in _MARKS:
        if head.startswith(mark, offset):
            return read_on(head)
    return None


_OTHERS = (
    (re.compile(rb"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"\s*<svg", re.IGNORECASE), "an SVG picture"),
    (re.compile(rb"\s*(?:<\?xml|<[A-Za-z])"), "an XML document"),
    (re.compile(rb"\s*[\[{]"), "a JSON document"),
    (re.compile(rb"\x1f\x8b"), "gzip data"),
    (re.compile(rb"PK\x03\x04"), "a zip archive"),
    (re.compile(rb"[\t\n\r\x20-\x7e]*\Z"), "text"),
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def name_of_other(head: bytes) -> str:
    """Say in words what a body that is no recording seems to be; for messages only."""
    text = head.removeprefix(_BYTE_ORDER_MARK)[:512]
    if not text:
        return "nothing"
    return next((name for pattern, name in _OTHERS if pattern.match(text)), "data of an unknown kind")
