"""Telling a run whose process died from one that works: a lock that the process holds until it ends.

Dagster's default launcher cannot say so for a process that died together with the daemon (a reboot, kill -9 of the group): such
a run stays "started" for ever, and would keep its partitions and its pool. Only runs on a machine that shares the Dagster home
are told apart this way; of others nothing is said.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_FOLDER = "running"
_held: dict[Path, int] = {}


def hold(home: Path, run_id: str) -> None:
    """Hold the lock of a run until this process ends. Again is harmless."""
    path = home / _FOLDER / run_id
    if path not in _held:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        _held[path] = lock


def dead_runs(home: Path) -> list[str]:
    """Return the runs that once held a lock in this home, and whose process has ended."""
    folder = home / _FOLDER
    if not folder.is_dir():
        return []
    return [path.name for path in sorted(folder.iterdir()) if path not in _held and _is_free(path)]


def forget(home: Path, run_id: str) -> None:
    """Remove the lock of a run that is over."""
    (home / _FOLDER / run_id).unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
