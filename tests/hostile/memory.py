"""Run Python in a child process that may not use more memory than it is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MIB = 1024 * 1024
_ROOT = Path(__file__).resolve().parents[2]


def run_limited(program: str, mebibytes: int) -> str:
    """Return what ``program`` printed; it fails where it needs more memory (heap) than ``mebibytes`` beyond its imports.

    The limit is set by the program's own call of ``limit()``, once it has imported what it needs.
    """
    prelude = (
        "import resource\n"
        "def limit():\n"
        "    held = [line for line in open('/proc/self/status') if line.startswith('VmData')]\n"
        f"    most = int(held[0].split()[1]) * 1024 + {mebibytes * MIB}\n"
        "    resource.setrlimit(resource.RLIMIT_DATA, (most, most))\n"
    )
    done = subprocess.run(  # noqa: S603 -- this Python, on a program of the test
        [sys.executable, "-c", prelude + program], cwd=_ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
