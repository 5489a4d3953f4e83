"""``recording-archive doctor``: is everything set up so that the archive can be trusted to run alone?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import click
import httpx

from assets.recordings.ledger import Ledger
from pipelines.assembly import build_definitions
from pipelines.cli.output import EXIT_FAILED, print_json, say
from pipelines.instance import dagster_home, open_instance
from resources.archive import Archive, is_on, open_archive
from resources.errors import AbsentError, ArchiveError, NotReadyError, SettingsError
from resources.model import Leg, Window
from resources.providers.protocol import Provider, ProviderSpec
from resources.providers.registry import PROVIDERS
from resources.redaction import redact
from resources.settings import load_settings

CLOCK_TOLERANCE = timedelta(seconds=60)
"""Presigned URLs live minutes; a clock that is a minute off makes them look alive when they are not."""
_NOBODY = "00000000-0000-0000-0000-000000000000"
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``good`` is None for something that is off on purpose."""

    name: str
    good: bool | None
    words: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(as_json: bool) -> None:
    """Check keys, clock, storage (write and conditional write) and the Dagster set-up. Exits with 1 when one is bad."""
    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            mark = {True: "ok  ", False: "BAD ", None: "off "}[finding.good]
            say(f"{mark} {finding.name}: {finding.words}")
    if as_json:
        print_json({"checks": [{"name": item.name, "good": item.good, "words": item.words} for item in findings]})
    if any(item.good is False for item in findings):
        raise SystemExit(EXIT_FAILED)


def examine() -> Iterator[Finding]:
    """Yield the findings one by one, each even when one before was bad."""
    try:
        settings = load_settings()
        archive = open_archive(settings)
    except ArchiveError as error:
        yield Finding("settings", good=False, words=redact(str(error)))
        return
    yield Finding("settings", good=True, words=f"archive root {archive.storage.url}")
    for check in archive.storage.probe():
        yield Finding(f"storage: {check.name}", check.error is None, redact(str(check.error)) if check.error else "works")
    if not any(is_on(spec, settings) for spec in PROVIDERS.values()):
        keys = ", ".join(spec.key_setting for spec in PROVIDERS.values())
        yield Finding("providers", good=False, words=f"no provider has a key: set {keys} in the environment or in .env")
    for spec in PROVIDERS.values():
        if is_on(spec, settings):
            yield from _provider(archive, spec)
        else:
            yield Finding(spec.name, good=None, words=f"{spec.key_setting} is not set")
    yield _dagster()
    archive.close()


def _provider(archive: Archive, spec: ProviderSpec) -> Iterator[Finding]:
    try:
        # Without the turns that runs share: those lie in the root, and a bad root must not hide a good key.
        client = spec.build(archive.settings, archive.runtime)
    except SettingsError as error:
        yield Finding(f"{spec.name}: key and address", good=False, words=redact(str(error)))
        return
    if client is not None:
        with closing(client) as provider:
            yield _tried(f"{spec.name}: key and address", lambda: _ask(archive, provider))
            yield _tried(f"{spec.name}: clock", lambda: _clock(provider.base_url, archive.runtime.now()))


def _ask(archive: Archive, provider: Provider) -> str:
    """List one hour and ask for a recording that nobody has: both need a good key, and cost nothing."""
    now = archive.runtime.now()
    problems = [problem for page in provider.find(Window(now - timedelta(hours=1), now)) for problem in page.problems]
    words = f"answers at {provider.base_url}"
    try:
        provider.link(_NOBODY, Leg.MAIN)
    except AbsentError as error:
        if not error.certain and not Ledger(archive.storage).base_has_proved_right(provider.name, provider.base_url):
            words += f", with a 404 that a wrong {provider.name.upper()}_BASE_URL gives too: the first recording will prove it"
    except NotReadyError:
        pass
    return words + (f"; {len(problems)} problems, first: {problems[0].what}" if problems else "")


def _clock(base_url: str, now: datetime) -> str:
    answer = httpx.head(base_url, follow_redirects=False, trust_env=False, timeout=_SECONDS)
    said = answer.headers.get("Date")
    if said is None:
        return "the provider does not say its time"
    skew = abs(parsedate_to_datetime(said).astimezone(UTC) - now)
    if skew > CLOCK_TOLERANCE:
        msg = f"this machine's clock is {skew.total_seconds():.0f} s off the provider's: set it by NTP"
        raise ArchiveError(msg)
    return f"{skew.total_seconds():.0f} s off the provider's"


def _dagster() -> Finding:
    def look() -> str:
        home = dagster_home()
        with open_instance(home) as instance:
            build_definitions(load_settings()).get_repository_def()
            if not instance.run_coordinator or instance.telemetry_enabled:
                msg = f"{home / 'dagster.yaml'} is not the project's: compare it with dagster.yaml"
                raise ArchiveError(msg)
        return f"definitions load, home {home}"

    return _tried("dagster", look)


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, good=True, words=redact(look()))
    except (ArchiveError, httpx.HTTPError, OSError, ValueError) as error:
        return Finding(name, good=False, words=redact(str(error)))
