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

    LINK_ASKED = "link-asked"
    """The provider has been asked for a link, and has not answered."""
    LINK_RECEIVED = "link-received"

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


def _killer(order: str) -> Hook:
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


_hook: Hook | None = _killer(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
