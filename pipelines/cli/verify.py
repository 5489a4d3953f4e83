"""``recording-archive verify``: read the archive back and compare it with the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from uuid import uuid4

import click

from assets.executions.verification import unreadable
from assets.recordings.audit.mending import Mender
from assets.recordings.audit.verification import Verdict, Verification
from assets.recordings.ledger import Ledger
from assets.recordings.manifest import publish_manifest
from pipelines.cli.output import EXIT_NEEDS_A_PERSON, UTC_DAY, megabytes, print_json, require_archive, say
from pipelines.cli.progress import progress
from resources.archive import Archive, open_archive
from resources.model import RecordingKey
from resources.providers.registry import PROVIDERS

_TOLD_EVERY = 25
_ALL = "all"


@dataclass(slots=True)
class _Tally:
    """What has been read back so far, and what was not as it should be."""

    copies: int = 0
    bytes: int = 0
    faults: list[Verdict] = field(default_factory=list[Verdict])
    notes: list[Verdict] = field(default_factory=list[Verdict])
    mended: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, verdict: Verdict) -> None:
        self.copies += verdict.is_copy
        self.bytes += verdict.bytes
        if verdict.fault is not None:
            self.faults.append(verdict)
        elif verdict.note is not None:
            self.notes.append(verdict)

    @property
    def left(self) -> list[Verdict]:
        """The faults that are still there."""
        return [verdict for verdict in self.faults if verdict.path not in self.mended]

    def __str__(self) -> str:
        return f"{self.copies} copies, {megabytes(self.bytes)} read back; {len(self.faults)} faults"


@click.command()
@click.argument("provider", type=click.Choice([_ALL, *PROVIDERS]), default=_ALL)
@click.option("--date", "day", type=UTC_DAY, help="One UTC day.")
@click.option("--all", "everything", is_flag=True, help="All days that anything in the root knows of; the default.")
@click.option("--repair", is_flag=True, help="Fetch bad copies again, beside the damaged ones, and write lost sidecars again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(*, provider: str, day: date | None, everything: bool, repair: bool, as_json: bool) -> None:
    """Read copies back (length, SHA-256, sidecar, manifest), events, executions. Exits with 3 when a fault is left."""
    if everything and day is not None:
        raise click.UsageError("--all and --date exclude each other")
    archive = open_archive()
    require_archive(archive)
    tally = _Tally()
    with progress(quiet=as_json) as tell, ThreadPoolExecutor(archive.settings.media_concurrency) as pool:
        for name in PROVIDERS if provider == _ALL else [provider]:
            verification = Verification(Ledger(archive.storage), name, pool)
            days = [day] if day else verification.days()
            for done, verdict in _verdicts(archive, verification, days, whole=day is None):
                tally.add(verdict)
                if tally.copies % _TOLD_EVERY == 0 or verdict.fault:
                    tell(done, len(days), f"{name}: {tally}")
            if repair:
                _repair(archive, name, tally)
    archive.close()
    _report(tally, as_json=as_json)
    if tally.left:
        raise SystemExit(EXIT_NEEDS_A_PERSON)


def _verdicts(
    archive: Archive, verification: Verification, days: Sequence[date], *, whole: bool
) -> Iterator[tuple[int, Verdict]]:
    for done, day in enumerate(days):
        yield from ((done, verdict) for verdict in verification.check(day))
    yield from ((len(days), verdict) for verdict in verification.finish())
    # Days that have executions alone are none of the ledger's.
    for path, words in unreadable(archive.storage, PROVIDERS[verification.provider], None if whole else days):
        yield len(days), Verdict(None, path, 0, words)


def _repair(archive: Archive, provider: str, tally: _Tally) -> None:
    """Mend the copies of a provider that were not as stored; what is wrong with events is left for a person."""
    mender = Mender(archive, provider, f"verify-{uuid4().hex}", is_over=lambda: False)
    keys = {(_day_of(verdict), verdict.key): verdict.path for verdict in tally.faults if verdict.is_copy and verdict.key}
    for (day, key), path in keys.items():
        event = mender.ledger.read_day(provider, day).get(key) if key.provider == provider else None
        if event is None or event.copy is None or event.copy.path != path:
            continue
        finding = mender.examine(event)
        if finding.mended:
            tally.mended[path] = finding.remedy
    mender.flush()
    for day in sorted(mender.days):
        publish_manifest(mender.ledger, provider, day)


def _day_of(verdict: Verdict) -> date:
    return date.fromisoformat(verdict.path.partition("/date=")[2][:10])


def _report(tally: _Tally, *, as_json: bool) -> None:
    if as_json:
        faults = [
            {
                "recording": _name(item.key),
                "path": item.path,
                "fault": item.fault,
                "mended": item.path in tally.mended,
                "remedy": tally.mended.get(item.path),
            }
            for item in tally.faults
        ]
        notes = [{"path": item.path, "note": item.note} for item in tally.notes]
        print_json({"copies": tally.copies, "bytes": tally.bytes, "faults": faults, "notes": notes})
        return
    click.echo(f"{tally}{f', {len(tally.mended)} of them mended' if tally.mended else ''}")
    for item in tally.notes:
        say(f"{item.path}: {item.note}")
    for item in tally.faults:
        say(f"{item.path}: {tally.mended.get(item.path) or item.fault}", err=True)


def _name(key: RecordingKey | None) -> str:
    return str(key or "")
