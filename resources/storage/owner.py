"""Whose temporary object is it? Its name says so: machine, process, and when that process began.

Where no lock can be held (object stores, fsspec filesystems), this is how a sweep tells what a dead process left from what a
living one is writing. Age is never asked: a transfer may take hours, and clocks differ.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PROCESSES = Path("/proc")
_STATE, _BEGAN = 0, 19
"""Positions in ``/proc/<pid>/stat`` behind the name of the program, see proc_pid_stat(5)."""
_ZOMBIE = "Z"


@dataclass(frozen=True, slots=True)
class Process:
    """One process that ever ran, and no other: ids are used again, but not by one that began at the same moment.

    Attributes:
        machine: see :func:`machine`.
        pid: its id there.
        began: clock ticks from the boot to its start; 0 where the system does not say (not Linux).
    """

    machine: str
    pid: int
    began: int


Alive = Callable[[Process], bool]
"""Says whether a process of this machine runs."""


@functools.cache
def machine() -> str:
    """Return a short name for the set of processes whose ids can be told apart here.

    That is the host since its boot, and on Linux the PID namespace: two containers may share a host name, but never this.
    """
    facts = [platform.node(), str(uuid.getnode())]
    with contextlib.suppress(OSError):
        facts.append((_PROCESSES / "sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        facts.append(str((_PROCESSES / "self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def temporary_name() -> str:
    """Return a name that nobody had, and that tells its owner: this process."""
    pid = os.getpid()
    return f"{machine()}-{pid}-{_stat(pid)[1]}-{uuid.uuid4().hex}"


def owner(name: str) -> Process | None:
    """Return the owner that a temporary object's name tells, or None where the name is not ours."""
    parts = name.split("-")
    if len(parts) != 4 or not (parts[1].isdecimal() and parts[2].isdecimal()):  # noqa: PLR2004 - as temporary_name() writes it
        return None
    return Process(parts[0], int(parts[1]), int(parts[2]))


def is_abandoned(name: str, alive: Alive | None = None) -> bool:
    """Say whether a temporary object of this name was left by a dead process of this machine.

    What a living process writes, what other machines do and what is not ours is never abandoned.

    Args:
        name: the last segment of its path.
        alive: the default asks the operating system.
    """
    who = owner(name)
    return who is not None and who.machine == machine() and not (alive or runs)(who)


def runs(process: Process) -> bool:
    """Say whether a process of this machine runs. In doubt it does."""
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    state, began = _stat(process.pid)
    return state != _ZOMBIE and (0 in (began, process.began) or began == process.began)


def _stat(pid: int) -> tuple[str, int]:
    """Return a process's state and the clock ticks from the boot to its start; ``("", 0)`` where the system does not say."""
    try:
        fields = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[_STATE], int(fields[_BEGAN])
