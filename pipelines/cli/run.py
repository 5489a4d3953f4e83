"""``recording-archive run``: read executions, archive what is due, publish the catalog; the same jobs as in the UI."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from assets.executions.reads import last_reads
from assets.recordings.ledger import Ledger
from assets.recordings.queue import QUEUE_COLUMNS, DayRange, open_days, ranges_of, unfinished_days
from pipelines.assembly import build_definitions
from pipelines.cli import tally
from pipelines.cli.output import (
    EXIT_FAILED,
    EXIT_NEEDS_A_PERSON,
    EXIT_SETTINGS,
    STATES,
    UTC_DAY,
    console,
    megabytes,
    print_json,
    print_table,
    say,
)
from pipelines.execution import JobResult, Launcher
from pipelines.in_flight import end_dead_runs
from pipelines.instance import dagster_home, open_instance
from resources.archive import Archive, is_on, open_archive, provider_spec
from resources.dagster_archive import ArchiveResource
from resources.errors import SettingsError
from resources.providers.registry import PROVIDERS
from resources.redaction import redact
from resources.settings import Settings, load_settings

ALL = "all"


@click.command()
@click.argument("provider", type=click.Choice([ALL, *PROVIDERS]), default=ALL)
@click.option("--date", "day", type=UTC_DAY, help="One UTC day. Default: the open partitions, as the schedule takes them.")
@click.option("--from", "first", type=UTC_DAY, help="First UTC day of a range.")
@click.option("--to", "last", type=UTC_DAY, help="Last UTC day of a range, included.")
@click.option("--only", "only", multiple=True, metavar="ID", help="Only this execution id (repeatable), due or not.")
@click.option("--retry-failed", is_flag=True, help="Also what ended without a copy: failed, absent, purged, blocked.")
@click.option("--dry-run", is_flag=True, help="Read executions, but ask for no recording.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def run(
    *,
    provider: str,
    day: date | None,
    first: date | None,
    last: date | None,
    only: Sequence[str],
    retry_failed: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Read the executions of PROVIDER (or all) and archive their recordings.

    Raises:
        SettingsError: no provider has a key, the chosen one is off, or the days make no sense.
    """
    settings = load_settings()
    names = _providers(provider, settings)
    config: dict[str, Any] = {"execution_ids": list(only), "retry_failed": retry_failed, "dry_run": dry_run}
    archive = open_archive(settings)
    wrong = _wrongly_set(archive, names)
    names = [name for name in names if name not in wrong]
    if not names:
        raise SettingsError(" ".join(wrong.values()))
    chosen = {name: _spans(archive, name, day, first, last) for name in names}
    with _progress(show=not as_json and console.is_terminal) as watch:
        resource = ArchiveResource().watched(watch)
        with open_instance(dagster_home()) as instance:
            end_dead_runs(instance)
            launcher = Launcher(build_definitions(settings, resource), instance, resource)
            for name in names:
                for span in chosen[name]:
                    launcher.archive(name, span, config)
            launcher.publish()
    ledger, ours = Ledger(archive.storage), {result.run_id for result in launcher.runs}
    days = {name: [day for span in chosen[name] for day in span.days] for name in names}
    counts = {name: tally.counts(ledger, name, days[name]) for name in names}
    unreached = [text for name in names if (text := tally.unreached(ledger, name, days[name], ours)) is not None]
    failures = [*(text for result in launcher.runs for text in result.failures), *unreached]
    archive.close()
    _report(launcher.runs, counts, [*wrong.values(), *failures], as_json=as_json)
    raise SystemExit(exit_code(launcher.runs, failed=bool(failures), wrong=bool(wrong)))


def exit_code(runs: Sequence[JobResult], *, failed: bool, wrong: bool) -> int:
    """Return the exit code of a set of runs, of which some ``failed``, beside providers that are ``wrong``ly set."""
    if failed:
        return EXIT_FAILED
    if wrong:
        return EXIT_SETTINGS
    if any(check for result in runs for check in result.failed_checks if "went_wrong" in check or "blocked" in check):
        return EXIT_NEEDS_A_PERSON
    return 0


def _providers(provider: str, settings: Settings) -> list[str]:
    if provider != ALL:
        spec = provider_spec(provider)
        if not is_on(spec, settings):
            msg = f"{provider} is off: {spec.key_setting} is not set. Set it in the environment or in .env (see .env.example)."
            raise SettingsError(msg)
        return [provider]
    names = [name for name, spec in PROVIDERS.items() if is_on(spec, settings)]
    off = {name: spec.key_setting for name, spec in PROVIDERS.items() if name not in names}
    if not names:
        msg = f"no provider has a key: set {', '.join(off.values())} in the environment or in .env (see .env.example)."
        raise SettingsError(msg)
    for name, key in off.items():
        click.echo(f"{name} is off: {key} is not set", err=True)
    return names


def _wrongly_set(archive: Archive, names: Sequence[str]) -> dict[str, str]:
    """Return what is wrong with the settings of each provider that cannot be opened; the others run without it."""
    wrong: dict[str, str] = {}
    for name in names:
        try:
            archive.provider(name)
        except SettingsError as error:
            wrong[name] = redact(str(error))
    return wrong


def _spans(archive: Archive, provider: str, day: date | None, first: date | None, last: date | None) -> list[DayRange]:
    if day is not None and (first or last):
        raise click.UsageError("--date goes alone; a range is --from and --to")
    settings = archive.settings
    start, today = date.fromisoformat(settings.archive_start_date), archive.runtime.now().date()
    if day is None and first is None and last is None:
        unfinished = unfinished_days(Ledger(archive.storage).open_table(provider, QUEUE_COLUMNS))
        reads = last_reads(archive.storage, provider)
        now = archive.runtime.now()
        days = open_days(unfinished, reads, now, first=start, reread_days=settings.archive_reread_days)
        return ranges_of(days)
    low, high = (day, day) if day is not None else (first or start, last or today)
    if low > high:
        msg = f"--from {low} is after --to {high}"
        raise click.UsageError(msg)
    if low < start or high > today:
        msg = f"{low}..{high} is outside the partitions {start}..{today} (ARCHIVE_START_DATE to today, UTC)"
        raise SettingsError(msg)
    return [DayRange(low, high)]


def _report(
    runs: Sequence[JobResult], counts: Mapping[str, Mapping[str, int]], failures: Sequence[str], *, as_json: bool
) -> None:
    checks = [text for result in runs for text in result.failed_checks]
    if as_json:
        print_json({"providers": counts, "failures": failures, "failed_checks": checks, "runs": [r.run_id for r in runs]})
        return
    rows = [[name, *(count[state] for state in STATES), megabytes(count["bytes"])] for name, count in counts.items()]
    print_table(["provider", *STATES, "stored"], rows)
    for text in failures:
        say(f"failed: {text}", err=True)
    for text in checks:
        say(f"check: {text}", err=True)


def _nothing(_provider: str, _state: str, _size: int) -> None:
    """Watch without a word."""


@contextmanager
def _progress(*, show: bool) -> Generator[Callable[[str, str, int], None]]:
    if not show:
        yield _nothing
        return
    bar = Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console)
    tasks: dict[str, Any] = {}

    def watch(provider: str, state: str, size: int) -> None:
        if provider not in tasks:
            tasks[provider] = bar.add_task(provider, total=None)
        bar.update(tasks[provider], advance=1, description=f"{provider} {state} {megabytes(size)}")

    with bar:
        yield watch
