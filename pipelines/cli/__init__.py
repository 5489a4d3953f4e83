"""The command line: ``recording-archive``.

Exit codes, for cron: 0 all is well (waiting is well); 1 the command failed; 2 a setting or an argument is wrong; 3 the command
worked, and recordings need a person (dead letters, blocked, a copy that does not verify).
"""

from __future__ import annotations

import logging
import sys

import click

from pipelines.cli.demo import demo
from pipelines.cli.doctor import doctor
from pipelines.cli.output import EXIT_FAILED, EXIT_SETTINGS
from pipelines.cli.query import query
from pipelines.cli.run import run
from pipelines.cli.status import status
from pipelines.cli.verify import verify
from resources.errors import ArchiveError, SettingsError
from resources.redaction import RedactingFilter, redact


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="recording-archive")
def cli() -> None:
    """Archive the recordings of AI-agent runs before their platforms purge them."""


for _command in (demo, run, status, query, verify, doctor):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; every expected error becomes one line on stderr and an exit code."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(levelname)s %(name)s: %(message)s")
    try:
        cli(standalone_mode=True)
    except SettingsError as error:
        click.echo(f"error: {redact(str(error))}", err=True)
        sys.exit(EXIT_SETTINGS)
    except ArchiveError as error:
        click.echo(f"error: {redact(str(error))}", err=True)
        sys.exit(EXIT_FAILED)
