"""The archive's own code as one simulated process has it: real storage, providers, transfer and ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import fsspec

from assets.executions.ingest import ExpectedRecording, ingest
from assets.executions.reads import last_reads, note_reads
from assets.recordings import names
from assets.recordings.archiving import RunMemory, Selection, archive_day
from assets.recordings.compaction import compact, fold
from assets.recordings.discovery import discover
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from assets.recordings.queue import QUEUE_COLUMNS, open_days, queue_of, unfinished_days
from resources.archive import Archive
from resources.providers import asteroid, feather, kataven
from resources.providers.registry import PROVIDERS
from resources.settings import Settings, load_settings
from resources.storage.archive import FileSystem
from resources.storage.local import LocalStorage
from resources.transfer import MediaClient
from tests.simulation.api import SimulatedApi
from tests.simulation.disk import Platter, ProcessDisk
from tests.simulation.media import SimulatedExchange
from tests.simulation.scheduler import START, Process
from tests.simulation.world import KATAVEN_RATES_TEXT, World

ROOT = Path("/simulated/archive")
_BUILDERS = {"asteroid": asteroid.build, "feather": feather.build, "kataven": kataven.build}
KEYS = {name: f"{name}-key-of-the-simulation" for name in PROVIDERS}


@dataclass(slots=True)
class Site:
    """What all processes of one simulated archive share: a world, a disk, the settings.

    Attributes:
        promised: path to bytes of every object whose writing was reported as done and that is never replaced.
    """

    world: World
    platter: Platter
    settings: Settings
    sessions: str
    promised: dict[str, bytes] = field(default_factory=dict[str, bytes])


class PromisingStorage(LocalStorage):
    """The real local storage; notes what it said is stored."""

    def __init__(self, site: Site, process: Process) -> None:
        super().__init__("the simulated archive", _NO_FILES, ROOT, ProcessDisk(site.platter, process, site.world))
        self._site = site
        self._process = process

    def create(self, path: str, data: bytes) -> None:
        """Put ``data`` at ``path``."""
        super().create(path, data)
        if path.startswith(f"{names.TAIL}/"):
            self._site.promised[path] = data


GRACE = timedelta(hours=6)
_NO_FILES: FileSystem = fsspec.filesystem("memory")


def make_settings(sessions: str) -> Settings:
    """Return the settings of a simulated archive: the defaults, but for keys, addresses and Kataven's small rates."""
    return load_settings(
        None,
        asteroid_api_key=KEYS["asteroid"],
        feather_api_key=KEYS["feather"],
        kataven_api_key=KEYS["kataven"],
        kataven_sessions=sessions,
        kataven_rate_limits=KATAVEN_RATES_TEXT,
        archive_start_date=START.date().isoformat(),
        media_concurrency=1,
        media_allowed_hosts="",
        media_allow_private=False,
        archive_root=str(ROOT),
    )


def open_process(site: Site, process: Process) -> Archive:
    """Return the archive as one process has it."""
    runtime = process.runtime()
    # The demuxer is a real process of its own: no seed could replay it.
    archive = Archive(site.settings, PromisingStorage(site, process), runtime, playing_time=lambda *_: None)
    for name in site.world.providers:
        client = _BUILDERS[name](site.settings, archive.client_runtime, SimulatedApi(site.world, process, name))
        assert client is not None
        archive._providers[name] = client
    archive._media = MediaClient.from_settings(
        site.settings,
        now=runtime.now,
        sleep=runtime.sleep,
        monotonic=runtime.monotonic,
        new_exchange=lambda: SimulatedExchange(site.world, process),
    )
    return archive


def read_and_archive(archive: Archive, provider: str, run_id: str) -> None:
    """Do what the schedule's run does: read the open days, then archive what is due in them."""
    ledger, policy, now = Ledger(archive.storage), Policy.from_settings(archive.settings), archive.runtime.now()
    days = open_days(
        unfinished_days(ledger.open_table(provider, QUEUE_COLUMNS)),
        last_reads(archive.storage, provider),
        now,
        first=START.date(),
        reread_days=archive.settings.archive_reread_days,
    )

    def tell_ledger(day: date, expected: Sequence[ExpectedRecording]) -> None:
        discover(ledger, provider, day, expected, run_id=run_id, now=now, policy=policy)

    report = ingest(archive.provider(provider), PROVIDERS[provider], archive.storage, days, now=now, before_write=tell_ledger)
    if report.error is not None:
        raise report.error
    note_reads(archive.storage, provider, days, now)
    archive_days(archive, provider, days, run_id)


def archive_due(archive: Archive, provider: str, run_id: str) -> None:
    """Do what the retry sensor and its run do: look what is due, and archive it."""
    queue = queue_of(Ledger(archive.storage).open_table(provider, QUEUE_COLUMNS), archive.runtime.now())
    archive_days(archive, provider, sorted(queue.due), run_id)


def ask_again(archive: Archive, provider: str, run_id: str, *, days: Sequence[date]) -> None:
    """Do what an operator does about dead letters: the run with ``--retry-failed``."""
    archive_days(archive, provider, days, run_id, retry_failed=True)


def archive_days(archive: Archive, provider: str, days: Sequence[date], run_id: str, *, retry_failed: bool = False) -> None:
    """Archive what is due in ``days``, as one run."""
    memory = RunMemory()
    for day in days:
        archive_day(archive, provider, day, run_id, Selection(retry_failed=retry_failed), memory)


def tidy_up(archive: Archive, provider: str, run_id: str) -> None:
    """Do what the compaction's run does; its grace period is short, so that files really go while others read."""
    del run_id
    # A world lasts for some days: each month counts as past, so that states are packed, and change again.
    compact(Ledger(archive.storage), provider, grace=GRACE, shown=None, settled=timedelta(days=-31))


def publish(archive: Archive, provider: str, run_id: str) -> None:
    """Do what the catalog's run does, without the file for analysts: sweep, fold, write manifests."""
    del run_id
    archive.storage.sweep()
    fold(Ledger(archive.storage), provider)
