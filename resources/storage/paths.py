"""Paths inside the archive: relative, POSIX, and safe on every backend."""

from __future__ import annotations

import functools
import re
import unicodedata

from resources.errors import StorageError

TEMPORARY = ".tmp"
"""The folder of the root that holds unfinished objects. No path may enter it, and no listing shows it."""

MAX_PATH_BYTES = 1024
"""The longest S3 key, in UTF-8 bytes (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""
MAX_SEGMENT_BYTES = 255
"""The longest file name on ext4, XFS, APFS and NTFS, in UTF-8 bytes."""

_SHOWN = 120
# A backslash is a separator on Windows, and SeaweedFS's bulk delete does not find such a key again.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\\]")


@functools.lru_cache(maxsize=4096)  # the same few paths are looked at again and again
def _fault(path: str) -> str | None:
    """Say what is wrong with ``path``, or None."""
    if _FORBIDDEN.search(path):
        return "it holds a control character or a backslash"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    segments = path.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        return "a segment is empty, '.' or '..'"
    if any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return f"a segment is longer than {MAX_SEGMENT_BYTES} bytes"
    # macOS and some object stores fold case or normalise; only NFC text means the same object everywhere.
    if not unicodedata.is_normalized("NFC", path):
        return "it is not in Unicode normal form C"
    if segments[0].lower() == TEMPORARY:
        return f"{TEMPORARY}/ belongs to unfinished writes"
    return None


def checked_path(path: str) -> str:
    """Return ``path`` if it names an object of the archive.

    Args:
        path: relative to the root, segments joined by ``/``, such as ``lake/executions/provider=asteroid/part.parquet``.

    Raises:
        StorageError: it is absolute, climbs, or would not name the same object on every backend.
    """
    fault = _fault(path)
    if fault is not None:
        msg = f"{path[:_SHOWN]!r} cannot be a path in the archive: {fault}"
        raise StorageError(msg)
    return path


def checked_prefix(prefix: str) -> str:
    """Return ``prefix`` without a trailing slash if it names a folder of the archive; ``""`` is the root.

    Raises:
        StorageError: as for :func:`checked_path`.
    """
    folder = prefix.removesuffix("/")
    return checked_path(folder) if folder else ""
