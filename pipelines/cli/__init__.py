"""The command line: ``recording-archive``.

Exit codes, for cron: 0 all is well (waiting is well); 1 the command failed; 2 a setting or an argument is wrong; 3 the command
worked, and recordings need a person (dead letters, blocked, a copy that does not verify).
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

import click

from pipelines.cli.audit import audit
from pipelines.cli.catalog import catalog
from pipelines.cli.compact import compact
from pipelines.cli.demo import demo
from pipelines.cli.doctor import doctor
from pipelines.cli.output import EXIT_FAILED, EXIT_SETTINGS, say
from pipelines.cli.query import query
from pipelines.cli.rebuild import rebuild
from pipelines.cli.run import run
from pipelines.cli.status import status
from pipelines.cli.verify import verify
from resources.errors import ArchiveError, SettingsError
from resources.redaction import guard_process


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="recording-archive")
def cli() -> None:
    """Archive the recordings of AI-agent runs before their platforms purge them."""


for _command in (demo, run, status, query, catalog, verify, audit, compact, rebuild, doctor):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line; every expected error becomes one line on stderr and an exit code.

    The process ends without the interpreter's own tear-down. A native thread that lets go of a Python object meanwhile aborts it
    ("terminate called without an active exception", 3 of 32 good runs on a busy machine), and the exit code is lost.
    """
    guard_process()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    code = _exit_code()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # who reads it may be gone
            stream.flush()
    os._exit(code)


def _exit_code() -> int:
    try:
        cli(standalone_mode=True)
    except SettingsError as error:
        say(f"error: {error}", err=True)
        return EXIT_SETTINGS
    except ArchiveError as error:
        say(f"error: {error}", err=True)
        return EXIT_FAILED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        logging.getLogger(__name__).exception("this should not happen: please report it")
        return EXIT_FAILED
    return 0
