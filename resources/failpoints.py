"""Named places on the way of a recording where a test stops the process, as a power cut or ``kill -9`` would.

In production nothing is hooked in, and :func:`reached` costs one comparison. A test names a place in the environment of a real
process (:data:`VARIABLE`), or hooks a function in (the simulator).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum

VARIABLE = "RECORDING_ARCHIVE_FAILPOINT"
"""``<name>`` or ``<name>:<n>``: kill -9 this process when it comes to that place for the n-th time (1 is the first)."""


class Failpoint(StrEnum):
    """The places, in the order in which one recording comes by."""

    RECORDINGS_DISCOVERED = "recordings-discovered"
    """The ledger knows the recordings of the executions that were read; the lake does not yet."""
    EXECUTIONS_WRITTEN = "executions-written"
    """A day of executions is in the lake."""
    LINK_ASKED = "link-asked"
    """The provider is being asked for a link, and has not answered."""
    LINK_RECEIVED = "link-received"
    MEDIA_ANSWERED = "media-answered"
    """The head of the media host's answer is there."""
    HEAD_CHECKED = "head-checked"
    """Status, length and container were found good."""
    FIRST_CHUNK = "first-chunk"
    """The first MiB has come, and the storage has not got it."""
    LATER_CHUNK = "later-chunk"
    BODY_VERIFIED = "body-verified"
    """The last byte was handed to the storage, and all of them together are what was announced. Nothing is visible."""
    TEMPORARY_CLAIMED = "temporary-claimed"
    """A temporary file has been made and locked (local disk)."""
    PART_STORED = "part-stored"
    """A part of the body is in the temporary file, or in the multipart upload."""
    TEMPORARY_WRITTEN = "temporary-written"
    """All bytes are in the temporary file (local disk)."""
    TEMPORARY_SYNCED = "temporary-synced"
    """They will outlast a power cut (local disk)."""
    UPLOAD_MARKED = "upload-marked"
    """The marker says who uploads what; the multipart upload has not begun (S3)."""
    UPLOAD_BEGUN = "upload-begun"
    """It has begun, without a part (S3)."""
    UPLOAD_SENT = "upload-sent"
    """All parts are sent; it is not completed (S3)."""
    OBJECT_NAMED = "object-named"
    """The object is visible under its name."""
    FOLDER_SYNCED = "folder-synced"
    """Its name will outlast a power cut, and its temporary file is still there (local disk)."""
    RECORDING_PUBLISHED = "recording-published"
    """The recording is in the archive; its facts are not."""
    SIDECAR_WRITTEN = "sidecar-written"
    EVENT_BUFFERED = "event-buffered"
    """The event is in memory only."""
    EVENT_FILE_ENCODED = "event-file-encoded"
    """An event file is about to be stored."""
    EVENT_FILE_WRITTEN = "event-file-written"
    MANIFEST_ENCODED = "manifest-encoded"
    """A manifest is about to replace the former one."""
    MANIFEST_WRITTEN = "manifest-written"
    FOLD_WRITTEN = "fold-written"
    """The files of a new snapshot are stored; the current one names the former ones."""
    FOLD_POINTED = "fold-pointed"
    """The new snapshot is the current one."""
    COMPACTION_WRITTEN = "compaction-written"
    """A day's compacted events are stored; no snapshot names them."""
    MONTH_WRITTEN = "month-written"
    """A month's states are stored as one file; no snapshot names it."""
    RETIRED = "retired"
    """Replaced files are removed; the snapshot still counts them as leaving."""
    CATALOG_BUILT = "catalog-built"
    """The catalog is whole in a local folder, and not in the archive."""
    CATALOG_PUT = "catalog-put"
    """It is in the archive; the pointer names the former one."""
    CATALOG_POINTED = "catalog-pointed"
    """The pointer names it."""

    # An audit, and what it mends.
    AUDIT_READ = "audit-read"
    """A part of the slice has been read back; that is not written down."""
    AUDIT_NOTED = "audit-noted"
    """It is written down how far the audit has come."""
    DAMAGE_NOTED = "damage-noted"
    """The ledger knows of the damage; no new copy has been asked for."""
    COPY_REPLACED = "copy-replaced"
    """The new copy and its sidecar are stored; the ledger does not know it."""
    SIDECAR_RESTORED = "sidecar-restored"
    """The sidecar was written again; the ledger does not know it."""

    # A rebuild.
    REBUILT_EVENTS = "rebuilt-events"
    """The events of a day that were lost are written again."""
    REBUILT_STATE = "rebuilt-state"
    """The compacted state of a provider was made again; its manifests were not."""
    REBUILT_MANIFEST = "rebuilt-manifest"


Hook = Callable[[Failpoint], None]


def reached(point: Failpoint) -> None:
    """Say that the process is at ``point``."""
    if _hook is not None:
        _hook(point)


@contextmanager
def hooked(hook: Hook) -> Generator[None]:
    """Call ``hook`` at every failpoint while the block runs."""
    global _hook  # noqa: PLW0603 -- one hook for the process, as there is one process to stop
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before


def killer(order: str) -> Hook:
    """Return the hook that kills this process as ``order`` says; raises ValueError for a place that does not exist."""
    name, _, count = order.partition(":")
    place, left = Failpoint(name), int(count or "1")
    lock = threading.Lock()

    def kill(point: Failpoint) -> None:
        nonlocal left
        if point is place:
            with lock:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    return kill


_hook: Hook | None = killer(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
