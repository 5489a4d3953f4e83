"""An archive of many small recordings, made by the real code: a provider that hands out links to a local HTTP server."""

from __future__ import annotations

import io
import json
import threading
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from assets.catalog.publication import publish
from assets.executions.ingest import ExpectedRecording
from assets.recordings.archiving import archive_day
from assets.recordings.audit.verification import Verification, verify_day
from assets.recordings.discovery import discover
from assets.recordings.events import Event
from assets.recordings.ledger import Ledger
from assets.recordings.lifecycle import Policy
from resources.archive import Archive
from resources.clock import REAL_RUNTIME
from resources.errors import PurgedError, Subject
from resources.model import ExecutionRecord, Leg, Link, Window
from resources.providers.protocol import Page, Runtime
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings
from resources.storage import open_storage

PROVIDER = "feather"
FIRST = date(2026, 11, 1)
_LINKS = "/api/v1/agent-calls/"
KEY = "heap-key-0123456789abcdef"


def body_of(name: str) -> bytes:
    """Return the recording of an execution: a short WAV file whose samples are its name."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(name.encode() * 16)
    return sink.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Send the recording that the path names, or Feather's answer with a link to it."""
        path = self.path.partition("?")[0]
        if path.startswith(_LINKS):
            name = path.removeprefix(_LINKS).partition("/")[0]
            origin = f"http://{self.headers['Host']}"
            body, kind = (
                json.dumps({"url": f"{origin}/{name}?X-Amz-Signature=heap", "expiresAt": None}).encode(),
                "application/json",
            )
        else:
            body, kind = body_of(path.strip("/")), "audio/wav"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name in the base class
        """Keep still."""


class StubProvider:
    """A provider of which only links are asked; they lead to the local server. Those of ``purged`` executions are gone."""

    name = PROVIDER
    base_url = "https://heap.example"

    def __init__(self, origin: str) -> None:
        """Hand out links below ``origin``."""
        self.origin = origin
        self.asked: list[str] = []
        self.purged: set[str] = set()

    def find(self, window: Window) -> Iterator[Page]:
        """List nothing."""
        del window
        return iter(())

    def get(self, execution_id: str) -> ExecutionRecord:
        """Know nothing."""
        raise NotImplementedError(execution_id)

    def link(self, execution_id: str, leg: Leg) -> Link:
        """Return a link that never lapses."""
        self.asked.append(execution_id)
        if execution_id in self.purged:
            raise PurgedError(Subject(PROVIDER, execution_id, leg.value), "the platform has purged it", http_status=404)
        return Link(f"{self.origin}/{execution_id}?X-Amz-Signature=heap", None)

    def close(self) -> None:
        """Have nothing open."""


@contextmanager
def media_host() -> Iterator[str]:
    """Serve the recordings, and yield the origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def settings_of(root: Path | str, **more: str) -> dict[str, str]:
    """Return the environment of a command that works on the heap."""
    known = {"ARCHIVE_ROOT": str(root), "FEATHER_API_KEY": KEY, "MEDIA_ALLOW_PRIVATE": "true", "ARCHIVE_START_DATE": "2026-11-01"}
    return {**known, **more}


@contextmanager
def heap(root: Path | str, provider: StubProvider, runtime: Runtime = REAL_RUNTIME, **overrides: object) -> Iterator[Archive]:
    """Yield an archive at ``root`` whose one provider is the stub."""
    chosen = {name.lower(): value for name, value in settings_of(root).items()}
    settings = load_settings(None, **(chosen | overrides))
    archive = Archive(settings, open_storage(settings.archive_root), runtime, _providers={PROVIDER: provider})
    try:
        yield archive
    finally:
        archive.close()


def names_of(count: int) -> list[str]:
    """Return the ids of so many executions."""
    return [f"call-{number:06d}" for number in range(count)]


def days_of(days: int) -> list[date]:
    """Return the first days of the heap."""
    return [FIRST + timedelta(days=offset) for offset in range(days)]


def fill(archive: Archive, names: Sequence[str], days: int) -> None:
    """Discover and archive the recordings of ``names``, spread over so many days, and publish everything."""
    ledger, now = Ledger(archive.storage), datetime.now(tz=UTC)
    for number, day in enumerate(days_of(days)):
        expected = [
            ExpectedRecording(name, Leg.MAIN, terminal=True, ended_at=now, purged_at=None) for name in names[number::days]
        ]
        discover(ledger, PROVIDER, day, expected, run_id="fill", now=now, policy=Policy())
        archive_day(archive, PROVIDER, day, "fill")
    publish(archive.storage, PROVIDERS.values(), archive.runtime.now())


def archived(archive: Archive, days: int) -> dict[str, Event]:
    """Return the winning event of each recording by its execution id."""
    ledger = Ledger(archive.storage)
    return {key.execution_id: event for day in days_of(days) for key, event in ledger.read_day(PROVIDER, day).items()}


def place_of(archive: Archive, event: Event) -> Path:
    """Return where the copy of a recording lies on this disk."""
    assert event.copy is not None
    place = archive.storage.local_path(event.copy.path)
    assert place is not None
    return place


def flip(path: Path, at: int = 60) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def faults(archive: Archive, days: int) -> dict[str, str]:
    """Return what verify says of the heap: path to words."""
    verification = Verification(Ledger(archive.storage), PROVIDER)
    listed = [day for day in verification.days() if day in days_of(days)]
    verdicts = [*(verdict for day in listed for verdict in verification.check(day)), *verification.finish()]
    return {verdict.path: verdict.fault for verdict in verdicts if verdict.fault is not None}


def notes(archive: Archive, days: int) -> dict[str, str]:
    """Return what verify mentions, and is no fault."""
    ledger = Ledger(archive.storage)
    return {verdict.path: verdict.note for day in days_of(days) for verdict in verify_day(ledger, PROVIDER, day) if verdict.note}
