"""What a fold makes may be deleted or damaged at any time, a file at a time: it is made again, and nothing is lost."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.catalog.publication import publish
from assets.catalog.tidying import tidy_up
from assets.recordings.audit.rebuilding import rebuild
from assets.recordings.ledger import Ledger, places
from assets.recordings.lifecycle import State
from assets.recordings.queue import queue_at
from resources.archive import Archive
from resources.clock import REAL_RUNTIME
from resources.errors import DamagedError, StorageError
from resources.failpoints import Failpoint
from resources.providers.registry import PROVIDERS
from resources.settings import load_settings
from resources.storage import ArchiveStorage, open_storage
from tests.catalog.lakes import FIRST, NOW, append, asked, day, event
from tests.recordings.compacting import faults, killed_at

SPECS = tuple(PROVIDERS.values())
PROVIDER = "feather"
LATE = 70
"""A day so late that the month of the first ones is packed."""
GRACE = timedelta(hours=24)


def names_in(ledger: Ledger) -> dict[str, str]:
    """Return one file of each kind that the folds have made, by its kind: those of the current snapshot."""
    taken = ledger.snapshot(PROVIDER)
    assert taken is not None
    parts = ledger.partitions(PROVIDER)
    return {
        "snapshot": places.snapshot_path(PROVIDER, taken.generation),
        "days": taken.days,
        "open": taken.open,
        "ids": taken.ids[0].path,
        "month": parts[FIRST].state,
        "state": parts[day(LATE)].state,
    }


KINDS = ("snapshot", "days", "open", "ids", "month", "state")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of an archive with compacted events, a packed month, and event files that no compaction knows yet."""
    root = tmp_path_factory.mktemp("healing") / "archive"
    storage = open_storage(str(root))
    for number in (0, 1, LATE):
        append(
            storage,
            [event(PROVIDER, f"a{number}", State.ARCHIVED, on=day(number)), event(PROVIDER, f"p{number}", on=day(number))],
        )
    append(storage, [event(PROVIDER, "b", State.BLOCKED, on=day(1), seq=2), event(PROVIDER, "r", on=day(1), due=None)])
    publish(storage, SPECS, NOW)
    tidy_up(storage, SPECS, GRACE)
    append(storage, [event(PROVIDER, "late", on=day(LATE)), event(PROVIDER, "p0", State.FAILED, seq=2)])
    publish(storage, SPECS, NOW)
    return root


@pytest.fixture
def storage(template: Path, tmp_path: Path) -> ArchiveStorage:
    """Return an archive of the test's own."""
    shutil.copytree(template, tmp_path / "archive")
    return open_storage(str(tmp_path / "archive"))


def gone(place: Path) -> None:
    """Delete a file."""
    place.unlink()


def truncated(place: Path) -> None:
    """Leave the first half of a file."""
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])


def scrambled(place: Path) -> None:
    """Overwrite what comes first, and leave the end, with the footer of a Parquet file, as it is."""
    data = place.read_bytes()
    place.write_bytes(b"\xff" * (len(data) // 4) + data[len(data) // 4 :])


def compact(storage: ArchiveStorage) -> None:
    """Do what ``recording-archive compact`` does."""
    tidy_up(storage, SPECS, GRACE)
    publish(storage, SPECS, NOW)


def rebuild_all(storage: ArchiveStorage) -> None:
    """Do what ``recording-archive rebuild`` does; nothing may be left for a person."""
    settings = load_settings(None, archive_root=storage.url, feather_api_key="key")
    archive = Archive(settings, storage, REAL_RUNTIME, _providers={})
    for spec in SPECS:
        report = rebuild(archive, spec)
        assert not report.needs_a_person
        assert (report.rebuilt, report.adopted, report.salvaged, report.discovered) == (0, 0, 0, 0)
    publish(storage, SPECS, NOW)
    archive.close()


def by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in an order of their own."""
    return sorted(rows, key=lambda row: (row["execution_id"], row["event_id"]))


QUESTIONS: dict[str, Callable[[ArchiveStorage], object]] = {
    "states": lambda storage: by_id(Ledger(storage).state_table(PROVIDER).to_pylist()),
    "open": lambda storage: by_id(Ledger(storage).open_table(PROVIDER).to_pylist()),
    "events": lambda storage: by_id(Ledger(storage).events_table(PROVIDER).to_pylist()),
    "standing": lambda storage: Ledger(storage).standing(PROVIDER),
    "found": lambda storage: Ledger(storage).find(PROVIDER, "a0"),
    "queue": lambda storage: queue_at(Ledger(storage), PROVIDER, NOW, FIRST),
    "day": lambda storage: Ledger(storage).read_day(PROVIDER, day(LATE)),
}


def answers(storage: ArchiveStorage) -> dict[str, object]:
    """Return what the ledger and the catalog say."""
    root = storage.local_path()
    assert root is not None
    views = ("recordings", "recording_attempts", "coverage", "due")
    catalog = {view: Counter(asked(root, f"SELECT * FROM {view}")) for view in views}  # noqa: S608 -- names of the catalog
    return {**{name: ask(storage) for name, ask in QUESTIONS.items()}, **catalog}


def hurt(storage: ArchiveStorage, kind: str, how: Callable[[Path], None]) -> str:
    """Do something to a file of a kind, and return its path."""
    path = names_in(Ledger(storage))[kind]
    place = storage.local_path(path)
    assert place is not None
    how(place)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("how", "mend"), [(gone, compact), (gone, rebuild_all), (truncated, rebuild_all), (scrambled, rebuild_all)]
)
def test_what_a_fold_made_is_made_again(
    storage: ArchiveStorage, kind: str, how: Callable[[Path], None], mend: Callable[[ArchiveStorage], None]
) -> None:
    """Each kind of file, gone or cut off: afterwards every answer is what it was, and the files are there, and whole."""
    before = answers(storage)
    hurt(storage, kind, how)
    mend(storage)
    assert answers(storage) == before
    assert faults(Ledger(storage)) == {}
    assert all(storage.exists(path) for path in names_in(Ledger(storage)).values())
    compact(storage)
    assert answers(storage) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [gone, truncated, scrambled])
def test_until_then_readers_are_right_or_say_what_to_run(storage: ArchiveStorage, kind: str, how: Callable[[Path], None]) -> None:
    """Nobody gets a wrong answer: the events are asked, or the error names the file and the command that makes it again."""
    before = {name: ask(storage) for name, ask in QUESTIONS.items()}
    path = hurt(storage, kind, how)
    for name, ask in QUESTIONS.items():
        try:
            assert ask(storage) == before[name], name
        except StorageError as error:
            said = str(error)
        else:
            continue
        assert path in said, name
        assert f"recording-archive {'compact' if how is gone else 'rebuild'}" in said, name
    if how is gone and kind != "days":
        assert {name: ask(storage) for name, ask in QUESTIONS.items()} == before


@pytest.mark.parametrize("kind", KINDS)
def test_news_do_not_stand_in_the_way(storage: ArchiveStorage, kind: str) -> None:
    """A run has appended meanwhile: the next fold makes again what is gone, and takes the news in."""
    hurt(storage, kind, gone)
    append(storage, [event(PROVIDER, "new", on=day(1)), event(PROVIDER, "late", State.FAILED, on=day(LATE), seq=2)])
    compact(storage)
    ledger = Ledger(storage)
    states = {row["execution_id"]: row["state"] for row in ledger.state_table(PROVIDER).to_pylist()}
    assert (states["new"], states["late"], len(states)) == ("pending", "failed", 10)
    assert ledger.tail_days(PROVIDER) == set()
    assert ledger.find(PROVIDER, "new")


def test_all_of_them_at_once(storage: ArchiveStorage) -> None:
    """Each file below the ledger's folder cut off, older snapshots too: a rebuild makes everything again."""
    before = answers(storage)
    for info in list(storage.list(places.ledger_folder(PROVIDER))):
        if info.size:
            truncated(storage.local_path(info.path) or Path())
    with pytest.raises(DamagedError, match="recording-archive rebuild"):
        Ledger(storage).standing(PROVIDER)
    rebuild_all(storage)
    assert answers(storage) == before
    assert faults(Ledger(storage)) == {}


def event_files_of_last_day(ledger: Ledger) -> Iterator[Path]:
    """Yield where the event files of the newest day lie that only a state stands for."""
    for path in ledger.partitions(PROVIDER)[day(LATE)].folded:
        place = ledger.storage.local_path(path)
        assert place is not None
        yield place


@pytest.mark.parametrize("kind", ["open", "ids", "month"])
def test_events_that_are_gone_too_are_not_lost_with_it(storage: ArchiveStorage, kind: str) -> None:
    """The state that still knows them goes on knowing them, until a rebuild writes them again."""
    ledger = Ledger(storage)
    for place in event_files_of_last_day(ledger):
        place.unlink()
    hurt(storage, kind, gone)
    compact(storage)
    assert "late" in {key.execution_id for key in Ledger(storage).read_day(PROVIDER, day(LATE))}
    settings = load_settings(None, archive_root=storage.url, feather_api_key="key")
    archive = Archive(settings, storage, REAL_RUNTIME, _providers={})
    assert rebuild(archive, PROVIDERS[PROVIDER]).salvaged == 1
    archive.close()
    assert "late" in Ledger(storage).events_table(PROVIDER)["execution_id"].to_pylist()


@pytest.mark.parametrize("point", [Failpoint.FOLD_WRITTEN, Failpoint.FOLD_POINTED, Failpoint.MANIFEST_WRITTEN])
@pytest.mark.parametrize("kind", ["days", "open", "state"])
def test_a_mending_that_is_killed_is_begun_again(storage: ArchiveStorage, kind: str, point: Failpoint) -> None:
    """Before its snapshot, after it, and while news get their manifests: the next compaction ends it; verify finds nothing."""
    append(storage, [event(PROVIDER, "new", on=day(1))])
    wanted = Ledger(storage).read_day(PROVIDER, day(1)), QUESTIONS["events"](storage)
    hurt(storage, kind, gone)
    with killed_at(point, 1):
        tidy_up(storage, SPECS, GRACE)
    for _ in range(2):
        compact(storage)
        assert (Ledger(storage).read_day(PROVIDER, day(1)), QUESTIONS["events"](storage)) == wanted
        assert faults(Ledger(storage)) == {}
