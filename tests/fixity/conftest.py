"""What the tests of the audit and the rebuild share: a small heap, and a clock that they move."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from assets.recordings.ledger import Ledger
from resources.archive import Archive
from tests.conftest import TestRuntime
from tests.fixity.heap import StubProvider, fill, heap, media_host, names_of

DAYS = 3
COUNT = 30


@dataclass
class Heap:
    """An archive of :data:`COUNT` recordings over :data:`DAYS` days, its provider and its clock."""

    archive: Archive
    provider: StubProvider
    clock: TestRuntime

    @property
    def ledger(self) -> Ledger:
        """The archive's ledger."""
        return Ledger(self.archive.storage)

    def set(self, **settings: object) -> None:
        """Change settings of the archive."""
        self.archive.settings = self.archive.settings.model_copy(update=settings)

    def tomorrow(self) -> None:
        """Move the clock on by a day."""
        self.clock.offset += 86_400


@pytest.fixture(scope="session")
def origin() -> Iterator[str]:
    """Serve the recordings for all tests of this folder."""
    with media_host() as running:
        yield running


@pytest.fixture(scope="session")
def template(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a heap with everything archived and published. Do not change it."""
    root = tmp_path_factory.mktemp("template") / "archive"
    with heap(root, StubProvider(origin)) as archive:
        fill(archive, names_of(COUNT), DAYS)
    return root


@pytest.fixture
def filled(origin: str, template: Path, tmp_path: Path, clock: TestRuntime) -> Iterator[Heap]:
    """Return a heap of the test's own, with everything archived and published; nothing has been asked of its provider."""
    shutil.copytree(template, tmp_path / "archive")
    provider = StubProvider(origin)
    with heap(tmp_path / "archive", provider, clock.runtime(), fixity_cycle_days=1) as archive:
        yield Heap(archive, provider, clock)
