"""Progress of long commands: on stderr, and only for a person who sits before it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Tell = Callable[[int, int, str], None]
"""Takes how many of the steps are done, how many there are, and a few words."""


def _nothing(_done: int, _total: int, _words: str) -> None:
    """Go on without a word."""


@contextmanager
def progress(*, quiet: bool) -> Generator[Tell]:
    """Yield what shows progress; it says nothing when ``quiet``, or where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield _nothing
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total, description=words)

        yield tell
