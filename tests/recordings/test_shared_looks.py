"""The manifests of many days share their looks at the ledger, and stay right beside other writers."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import fsspec
import pytest

from assets.recordings import names
from assets.recordings.compaction import compact, fold
from assets.recordings.ledger import Ledger
from assets.recordings.manifest import publish_manifest, publish_manifests, read_manifest
from resources.failpoints import Failpoint, hooked
from resources.storage import open_storage
from resources.storage.archive import ObjectInfo
from resources.storage.generic import GenericStorage
from resources.storage.local import LocalStorage
from tests.recordings.compacting import check_sums, faults
from tests.recordings.test_ledger import DAY, NOW, event
from tests.recordings.test_manifest import copied

PROVIDER = "feather"
GRACE = timedelta(hours=24)


class Counting(LocalStorage):
    """An archive on a disk that counts its listings, by the tree that is listed."""

    def __init__(self, root: Path) -> None:
        """Stand on a folder."""
        super().__init__(str(root), fsspec.filesystem("file"), root)
        self.listed: Counter[str] = Counter()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Count, and list."""
        self.listed["/".join(prefix.split("/")[:2])] += 1
        return super().list(prefix)


def days(count: int) -> list[date]:
    """Return so many days."""
    return [DAY - timedelta(days=number) for number in range(count)]


def listings(storage: Counting, count: int) -> tuple[int, int]:
    """Return how many listings a fold and a compaction make that have so many days to do."""
    ledger = Ledger(storage)
    for day in days(count):
        ledger.append([event("a", day=day), copied(f"{day}", day=day)], NOW)
    storage.listed.clear()
    fold(Ledger(storage), PROVIDER)
    folding = storage.listed.total()
    storage.listed.clear()
    compact(Ledger(storage), PROVIDER, grace=GRACE, shown=None)
    return folding, storage.listed.total()


def test_listings_do_not_grow_with_the_days(tmp_path: Path) -> None:
    """Sixty days that a fold touches, and that a compaction packs, cost no more listings than four do."""
    few, many = listings(Counting(tmp_path / "few"), 4), listings(Counting(tmp_path / "many"), 60)
    assert many[0] == few[0]
    assert many[1] <= few[1] + 2, "a past month is packed, too"
    assert max(many) < 30
    check_sums(Ledger(open_storage(str(tmp_path / "many"))))
    assert faults(Ledger(open_storage(str(tmp_path / "many")))) == {}


def test_one_day_does_not_list_all_compacted_events(tmp_path: Path) -> None:
    """A run that writes the manifest of its day asks for that day's folder alone."""
    storage = Counting(tmp_path / "root")
    listings(storage, 4)
    asked: list[str] = []
    listed = storage.list

    def noting(prefix: str = "") -> Iterator[ObjectInfo]:
        asked.append(prefix)
        return listed(prefix)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "list", noting)
        publish_manifest(Ledger(storage), PROVIDER, DAY)
    assert names.events_folder(PROVIDER, DAY) in asked
    assert f"{names.EVENTS}/provider={PROVIDER}" not in asked


@pytest.mark.parametrize("point", [Failpoint.MANIFEST_ENCODED, Failpoint.MANIFEST_WRITTEN])
@pytest.mark.parametrize("count", [1, 5])
def test_what_another_run_writes_meanwhile_is_in_the_manifest(tmp_path: Path, point: Failpoint, count: int) -> None:
    """It archives a recording of each day, and publishes, while the first day is written: no line of it is lost."""
    root = str(tmp_path / "root")
    ledger, other = Ledger(open_storage(root)), Ledger(open_storage(root))
    wanted = days(count)
    for day in wanted:
        ledger.append([copied("mine", day=day)], NOW)
    done, lost = [False], list[date]()

    def interrupt(at: Failpoint) -> None:
        if at is point and not done[0]:
            done[0] = True
            for day in wanted:
                other.append([copied("theirs", day=day)], NOW)
                publish_manifest(other, PROVIDER, day)
        elif at is Failpoint.MANIFEST_WRITTEN and done[0]:
            # The day that was being written at that moment is put right by the look after it; no other one is ever wrong.
            lost.extend(
                day
                for day in wanted[:-1]
                if (found := read_manifest(other, PROVIDER, day)) and not any("/theirs/" in path for path in found)
            )

    with hooked(interrupt):
        publish_manifests(ledger, PROVIDER, wanted)
    assert done[0]
    for day in wanted:
        stored = read_manifest(ledger, PROVIDER, day)
        assert stored is not None
        assert {path.split("/")[-2] for path in stored if path.startswith("recordings/")} == {"mine", "theirs"}
        assert sum(path.startswith(f"{names.TAIL}/") for path in stored) == 2
    assert lost == []


def test_a_look_that_is_too_old_is_taken_again() -> None:
    """Files that it saw are gone, since a compaction has removed them: the next look finds what stands for them."""
    storage = open_storage(f"memory://{uuid.uuid4().hex}/archive")
    assert isinstance(storage, GenericStorage)
    ledger, other = Ledger(storage), Ledger(storage)
    for day in days(3):
        for number in range(2):
            ledger.append([copied(f"{number}", day=day)], NOW)
    take, taken = Ledger.look, list[int]()

    def late(self: Ledger, provider: str, some: list[date]) -> object:
        look = take(self, provider, some)
        if self is ledger and not taken:
            taken.append(1)
            fold(other, provider)
            for _ in range(2):
                compact(other, provider, grace=timedelta(0), shown=None)
        return look

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "look", late)
        publish_manifests(ledger, PROVIDER, days(3))
    assert taken
    for day in days(3):
        stored = read_manifest(ledger, PROVIDER, day)
        assert stored is not None
        assert len([path for path in stored if path.startswith("recordings/")]) == 4
        assert [path for path in stored if not path.startswith("recordings/")] == ledger.history_files(PROVIDER, day)
