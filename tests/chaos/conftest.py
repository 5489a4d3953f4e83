"""What the tests of this folder share: an archive, a sandbox whose calls fail, and rounds on the clock of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.recordings.ledger import Ledger
from benchmarks.audit import differences, unsettled
from benchmarks.rounds import Clock, Rounds
from resources.archive import Archive
from resources.settings import load_settings
from resources.storage import open_storage
from sandbox import chaos
from sandbox.options import WorldOptions
from sandbox.server import Sandbox, running_sandbox

ANCHOR = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)


@dataclass
class Trial:
    """An archive that works against chaos."""

    rounds: Rounds
    sandbox: Sandbox

    @property
    def truth(self) -> list[dict[str, Any]]:
        """Return the recordings as the sandbox knows them."""
        return self.sandbox.truth()["recordings"]  # type: ignore[return-value]

    def run(self, most: int = 200) -> list[str]:
        """Do rounds until nothing more will happen; return in words what is not as it should be then."""
        storage = self.rounds.archive.storage
        ledger, truth = Ledger(storage), self.truth
        self.rounds.run(lambda: not unsettled(ledger, truth), most)
        return differences(ledger, Path(self.rounds.archive.settings.archive_root), truth)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Trial]]:
    """Return a maker of trials: ``make(options, fault, **settings)``."""
    # A body that stands still is the one fault that takes real time; how long it is watched is tested with the transfer.
    monkeypatch.setattr(chaos, "STALL_SECONDS", 0.05)
    with ExitStack() as opened:

        def make(options: WorldOptions, fault: str, **settings: object) -> Trial:
            clock = Clock(ANCHOR)
            sandbox = opened.enter_context(running_sandbox(options, faults=[fault], clock=clock.now))
            chosen: dict[str, object] = {name.lower(): value for name, value in sandbox.env.items()}
            chosen |= {"archive_root": str(tmp_path / "archive"), "archive_start_date": sandbox.window["first"]}
            loaded = load_settings(None, **(chosen | settings))
            archive = Archive(loaded, open_storage(loaded.archive_root), clock.runtime())
            opened.callback(archive.close)
            return Trial(Rounds(archive, clock, date.fromisoformat(sandbox.window["first"])), sandbox)

        yield make
