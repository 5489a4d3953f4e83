"""What all commands share: exit codes, JSON or words, and the date arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from assets.recordings.lifecycle import State
from resources.archive import Archive
from resources.errors import StorageError
from resources.redaction import redact

EXIT_FAILED = 1
EXIT_SETTINGS = 2
EXIT_NEEDS_A_PERSON = 3

_SHOWN_FIRST = (State.ARCHIVED, State.NOT_READY, State.PENDING, State.ABSENT, State.PURGED)
STATES = tuple(state.value for state in (*_SHOWN_FIRST, *(state for state in State if state not in _SHOWN_FIRST)))
"""The states of a recording, in the order in which a person reads them: what needs one comes last."""

_WIDTH_OF_A_PIPE = 140
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE)


class UtcDay(click.ParamType[date]):
    """A command-line argument that is a UTC day, YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day, or fail with what was expected."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a day: write it as 2026-11-20", param, ctx)


UTC_DAY = UtcDay()


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout, and nothing else."""
    click.echo(json.dumps(document, indent=2, default=_plain, sort_keys=True))


def printable(text: str) -> str:
    """Return ``text`` for a terminal: what would move its cursor, change its title or turn its writing round is shown, not done.

    Ids and errors come from outside, and may hold escape sequences, marks of direction and lone surrogates.
    """
    return "".join(char if char == "\n" or char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def say(text: str, *, err: bool = False) -> None:
    """Print a message for people, on stdout or stderr: without secrets, and safe for a terminal."""
    click.echo(printable(redact(text)), err=err)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table for people."""
    table = Table(*(Column(_cell(name)) for name in columns), title=title, box=box.SIMPLE, title_justify="left")
    for row in rows:
        table.add_row(*("" if value is None else _cell(_words(value)) for value in row))
    console.print(table)


def require_archive(archive: Archive) -> None:
    """Refuse to report on a root that is not there: nothing found would look like nothing wrong.

    Raises:
        StorageError: there is no archive at the root; object storage has no folders, so nothing is said of it.
    """
    folder = archive.storage.local_path()
    if folder is not None and not folder.is_dir():
        msg = f"there is no archive at {archive.storage.url}: check ARCHIVE_ROOT, or run `recording-archive run` first"
        raise StorageError(msg)


def megabytes(count: int) -> str:
    """Return a length in MB (10**6 bytes), for people."""
    return f"{count / 1e6:,.1f} MB"


def _cell(text: str) -> Text:
    # Text, since a plain string would be read as markup: [/x] is an error there, and [link=...] a link.
    return Text(printable(text).replace("\n", "\\n"))


def _words(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value)
