"""A copy of a lake to write into: its files are immutable, so the copy shares them, and costs no space."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def linked(root: Path, target: Path) -> Generator[Path]:
    """Make ``target`` a copy of the archive in ``root`` for as long as the block runs. Both lie on one file system.

    What has a fixed name in an archive is replaced by a rename, never written into, so the original stays as it is.
    """
    try:
        shutil.copytree(root, target, copy_function=os.link, ignore=shutil.ignore_patterns(".tmp"))
        yield target
    finally:
        shutil.rmtree(target, ignore_errors=True)
