"""What comes instead of a recording is kept for a person to look at, once a kind, without secrets, and counts as nothing."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.recordings import adoption, names
from assets.recordings.archiving import Selection, archive_day
from assets.recordings.errand import Errand
from assets.recordings.events import Event
from assets.recordings.lifecycle import Outcome, State
from assets.recordings.manifest import read_manifest
from assets.recordings.quarantine import KINDS_MAX, keep
from resources.errors import NotMediaError, StorageError, Subject
from resources.evidence import EVIDENCE_BYTES, Evidence
from resources.model import Leg, RecordingKey
from resources.storage import open_storage
from tests.conftest import Bench
from tests.end_to_end.leaks import find_secrets

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ERRAND = Errand(RecordingKey("feather", "A call/..", Leg.MAIN), DAY, "run-1", 0)
PAGES = {"media-html": "an HTML page", "media-svg": "an SVG picture", "media-json": "a JSON document"}


def ready(bench: Bench, provider: str = "feather") -> tuple[RecordingKey, date]:
    """Return a recording that is ready, the only one of its execution."""
    rows = bench.truth(provider)
    legs = Counter(row["execution_id"] for row in rows)
    row: dict[str, Any] = next(row for row in rows if row["scenario"] == "ready" and legs[row["execution_id"]] == 1)
    return RecordingKey(provider, row["execution_id"], Leg(row["leg"])), date.fromisoformat(row["date"])


def tried(bench: Bench, key: RecordingKey, day: date) -> Event:
    """Try to archive one recording."""
    archive_day(bench.archive, key.provider, day, "run-1", Selection(execution_ids=frozenset({key.execution_id})))
    return bench.ledger.read_day(key.provider, day)[key]


def files(bench: Bench) -> list[str]:
    """Return what lies in the quarantine."""
    return [info.path for info in bench.archive.storage.list(names.QUARANTINE)]


@pytest.mark.parametrize("fault", PAGES)
def test_an_error_page_is_kept_and_named(bench: Bench, fault: str) -> None:
    """The event says where the page lies; beside it stand the facts; the presigned URL that it quoted is in neither."""
    bench.discover("feather")
    key, day = ready(bench)
    bench.sandbox.set_fault(fault)
    event = tried(bench, key, day)
    assert event.outcome is Outcome.NOT_MEDIA
    body, facts_path = sorted(files(bench), reverse=True)
    assert body in (event.detail or "")
    root = Path(bench.archive.settings.archive_root)
    assert 0 < (root / body).stat().st_size <= EVIDENCE_BYTES
    assert "ervice unavailable" in (root / body).read_text()
    facts = json.loads((root / facts_path).read_text())
    assert (facts["seems"], facts["http_status"], facts["run_id"]) == (PAGES[fault], 200, "run-1")
    assert facts["kept"] == (root / body).stat().st_size
    assert facts["length"] > 0
    assert (facts["provider"], facts["execution_id"], facts["leg"]) == (key.provider, key.execution_id, key.leg.value)
    secrets = bench.sandbox.secrets()
    assert find_secrets(root, {*secrets["keys"], *secrets["signatures"], "X-Amz-Credential"}) == []


def test_the_same_page_again_is_kept_once(bench: Bench) -> None:
    """It tells another request number each time, and another signature, and is the same page nevertheless."""
    bench.discover("feather")
    key, day = ready(bench)
    bench.sandbox.set_fault("media-html")
    first = tried(bench, key, day)
    kept = {path: bench.archive.storage.read(path) for path in files(bench)}
    for _ in range(3):
        bench.clock.offset += 3600
        again = tried(bench, key, day)
        assert again.detail == first.detail
    assert {path: bench.archive.storage.read(path) for path in files(bench)} == kept
    bench.sandbox.set_fault("media-html", value=False)
    bench.sandbox.set_fault("media-json")
    bench.clock.offset += 3600
    tried(bench, key, day)
    now = {path: bench.archive.storage.read(path) for path in files(bench)}
    assert len(now) == 4
    assert kept.items() <= now.items()


def test_what_is_in_quarantine_is_no_recording(bench: Bench) -> None:
    """Neither the search for orphans nor the manifest takes it for one, and the recording is archived when it comes."""
    bench.discover("feather")
    key, day = ready(bench)
    bench.sandbox.set_fault("media-html")
    event = tried(bench, key, day)
    assert files(bench)
    assert adoption.find_orphans(bench.archive.storage, "feather", day, [event]) == {}
    assert list(bench.archive.storage.list(names.RECORDINGS)) == []
    bench.sandbox.set_fault("media-html", value=False)
    bench.clock.offset += 3600
    assert tried(bench, key, day).life.state is State.ARCHIVED
    manifest = read_manifest(bench.ledger, "feather", day) or {}
    assert not [path for path in manifest if path.startswith(names.QUARANTINE)]
    assert not [event for event in bench.ledger.read_open("feather").values() if event.key == key]


def refused(text: str, leg: Leg = Leg.MAIN) -> tuple[Errand, NotMediaError]:
    """Return an errand and the error of a body."""
    error = NotMediaError(Subject("feather", ERRAND.key.execution_id), "the body is not a recording but text", http_status=200)
    error.evidence = Evidence(text.encode(), "text", "text/plain", len(text))
    return Errand(RecordingKey("feather", ERRAND.key.execution_id, leg), DAY, "run-1", 0), error


def test_kinds_are_bounded(bench: Bench) -> None:
    """A host that says something else each time does not fill the archive; each leg has room of its own."""
    storage, now = bench.archive.storage, bench.clock.now()
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"]
    said = [keep(storage, *refused(word), now) or "" for word in words]
    assert len(files(bench)) == 2 * KINDS_MAX
    assert "one more" in said[-1]
    assert "is kept in" in (keep(storage, *refused(words[0]), now) or "")
    assert "is kept in" in (keep(storage, *refused("omega", Leg.SUPERVISOR), now) or "")
    assert len(files(bench)) == 2 * KINDS_MAX + 2
    assert all(path.startswith("quarantine/provider=feather/date=2026-11-20/a_call_") for path in files(bench))


@pytest.mark.parametrize("lost", [".txt", ".json"])
def test_what_a_kill_left_out_is_added(bench: Bench, lost: str) -> None:
    """Killed between the two files: the next body of that kind makes both whole."""
    storage, now = bench.archive.storage, bench.clock.now()
    keep(storage, *refused("alpha"), now)
    before = set(files(bench))
    storage.delete(next(path for path in before if path.endswith(lost)))
    keep(storage, *refused("alpha"), now)
    assert set(files(bench)) == before


def test_a_root_that_fails_is_not_the_news(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the page cannot be kept, the outcome is still that it was no recording, and the detail says both."""
    bench.discover("feather")
    key, day = ready(bench)
    bench.sandbox.set_fault("media-html")
    storage = type(bench.archive.storage)
    create = storage.create

    def refuse(self: object, path: str, data: bytes) -> None:
        if path.startswith(names.QUARANTINE):
            msg = "no space left on device"
            raise StorageError(msg)
        create(self, path, data)  # type: ignore[arg-type]

    monkeypatch.setattr(storage, "create", refuse)
    event = tried(bench, key, day)
    assert event.outcome is Outcome.NOT_MEDIA
    assert "could not be kept: no space left" in (event.detail or "")


def test_nothing_came_nothing_is_kept(bench: Bench) -> None:
    """An error without a body leaves no file."""
    error = NotMediaError(Subject("feather"), "somebody else put it there")
    assert keep(bench.archive.storage, ERRAND, error, bench.clock.now()) is None
    assert files(bench) == []


def test_a_short_answer_is_kept_too(bench: Bench) -> None:
    """A body that is refused for its length alone, before a byte of it was looked at, is still seen."""
    bench.archive.settings = bench.archive.settings.model_copy(update={"media_min_bytes": 10_000})
    bench.discover("feather")
    key, day = ready(bench)
    bench.sandbox.set_fault("media-json")
    event = tried(bench, key, day)
    assert "MEDIA_MIN_BYTES" in (event.detail or "")
    assert json.loads(bench.archive.storage.read(files(bench)[0]))["seems"] == "a JSON document"


def test_every_storage_takes_it() -> None:
    """On object storage, too, an id is no path."""
    storage = open_storage("memory://quarantine")
    words = keep(storage, *refused("alpha"), NOON) or ""
    body, _ = sorted((info.path for info in storage.list(names.QUARANTINE)), reverse=True)
    assert body in words
    assert storage.read(body) == b"alpha"
