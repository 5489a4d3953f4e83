"""The command line of the sandbox."""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import threading
from datetime import date, datetime
from pathlib import Path

import click

from sandbox.faults import FAULTS
from sandbox.options import OptionError, WorldOptions
from sandbox.server import Ports, Sandbox

_PARENT_POLL_SECONDS = 0.3
_DEFAULTS = WorldOptions()


def _fault_help() -> str:
    return "A fault for everything, NAME or NAME=VALUE; repeatable. Names: " + ", ".join(FAULTS)


def _pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        pairs[name] = value
    if not all(name and value for name, value in pairs.items()):
        msg = f"{option} takes PROVIDER=VALUE"
        raise click.UsageError(msg)
    return pairs


@click.command(context_settings={"show_default": True})
@click.option("--seed", default=_DEFAULTS.seed, help="Names the world.")
@click.option("--days", default=_DEFAULTS.days, help="How many UTC days it covers.")
@click.option("--end-date", type=date.fromisoformat, help="The last day; default: the day of the anchor.")
@click.option("--recordings", default=_DEFAULTS.recordings, help="How many recordings, all providers together.")
@click.option("--megabytes", default=_DEFAULTS.megabytes, help="Least total size of what can be archived, in MiB.")
@click.option("--anchor", type=datetime.fromisoformat, help="The moment at which the world starts; default: now.")
@click.option("--continued", is_flag=True, help="The world began at the anchor and has gone on since then.")
@click.option("--late-seconds", default=_DEFAULTS.late_seconds, help="When the late things happen.")
@click.option("--purge-seconds", type=float, help="When the late purge happens; default: --late-seconds.")
@click.option("--not-ready-asks", default=_DEFAULTS.not_ready_asks, help="Asks that are answered not ready.")
@click.option("--server-errors", default=_DEFAULTS.server_errors, help="Asks in a row that are answered 500.")
@click.option("--retry-after", default=_DEFAULTS.retry_after_seconds, help="Seconds in the Retry-After of a 429.")
@click.option("--calm", is_flag=True, help="Every recording is ready at once: a world for benchmarks.")
@click.option("--link-seconds", multiple=True, metavar="PROVIDER=SECONDS", help="Lifetime of presigned URLs.")
@click.option("--key", multiple=True, metavar="PROVIDER=KEY", help="An API key, instead of a seeded one.")
@click.option("--fault", multiple=True, metavar="NAME[=VALUE]", help=_fault_help())
@click.option("--port", default=0, help="Port of the APIs; 0: a free one.")
@click.option("--media-port", default=0, help="Port of the media; 0: a free one.")
@click.option("--inventory", type=click.Path(path_type=Path), help="Folder for the session inventory; default: temporary.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="A JSON file that is written once all is ready.")
@click.option("--exit-with-parent", is_flag=True, help="Exit when the parent process is gone.")
def main(  # noqa: PLR0913  # one parameter for each option
    *,
    seed: int,
    days: int,
    end_date: date | None,
    recordings: int,
    megabytes: float,
    anchor: datetime | None,
    continued: bool,
    late_seconds: float,
    purge_seconds: float | None,
    not_ready_asks: int,
    server_errors: int,
    retry_after: int,
    calm: bool,
    link_seconds: tuple[str, ...],
    key: tuple[str, ...],
    fault: tuple[str, ...],
    port: int,
    media_port: int,
    inventory: Path | None,
    ready_file: Path | None,
    exit_with_parent: bool,
) -> None:
    """Serve the APIs of three providers, and their media, from a seeded world on this machine."""
    try:
        options = WorldOptions(
            seed=seed,
            days=days,
            end_date=end_date,
            recordings=recordings,
            megabytes=megabytes,
            anchor=anchor,
            continued=continued,
            late_seconds=late_seconds,
            purge_seconds=purge_seconds,
            not_ready_asks=not_ready_asks,
            server_errors=server_errors,
            retry_after_seconds=retry_after,
            calm=calm,
            link_seconds={name: float(value) for name, value in _pairs(link_seconds, "--link-seconds").items()},
            keys=_pairs(key, "--key"),
        )
        with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
            ports = Ports(api=port, media=media_port)
            sandbox = Sandbox(options, inventory=inventory or Path(folder) / "sessions", faults=fault, ports=ports)
            _serve(sandbox, ready_file, exit_with_parent=exit_with_parent)
    except (OptionError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _serve(sandbox: Sandbox, ready_file: Path | None, *, exit_with_parent: bool) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sandbox.stop())
    started = threading.Event()
    threading.Thread(target=_announce, args=(sandbox, started, ready_file), daemon=True).start()
    if exit_with_parent:
        threading.Thread(target=_stop_with_parent, args=(sandbox, os.getppid()), daemon=True).start()
    try:
        sandbox.run(started)
    finally:
        if ready_file:
            ready_file.unlink(missing_ok=True)


def _announce(sandbox: Sandbox, started: threading.Event, ready_file: Path | None) -> None:
    started.wait()
    window = sandbox.window
    click.echo(f"sandbox: {sandbox.api_origin}/ serves the APIs, {sandbox.media_origin}/ the media")
    click.echo(f"sandbox: days {window['first']} to {window['last']}, session inventory in {sandbox.inventory}")
    if ready_file:
        temporary = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(sandbox.ready_facts(), indent=2))
        temporary.replace(ready_file)
        click.echo(f"sandbox: environment in {ready_file}; stop with Ctrl-C")


def _stop_with_parent(sandbox: Sandbox, parent: int) -> None:
    ended = threading.Event()
    while os.getppid() == parent:
        ended.wait(_PARENT_POLL_SECONDS)
    sandbox.stop()
