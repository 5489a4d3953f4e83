"""A large recording that is cut at 90 %, with its link expired by then: at most a twentieth of it is fetched again.

128 MiB by default; ``make large`` takes a gibibyte.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from resources.archive import Archive
from resources.failpoints import Failpoint
from resources.model import Leg
from resources.settings import load_settings
from resources.storage import open_storage
from sandbox.options import WorldOptions
from sandbox.server import Sandbox, running_sandbox
from tests.conftest import TestRuntime
from tests.end_to_end.truth import ask, media_files
from tests.survival.conftest import World
from tests.survival.nursery import running_nursery
from tests.survival.places import Folder
from tests.survival.run import PROVIDER

pytestmark = pytest.mark.slow

MEGABYTES = int(os.environ.get("LARGE_MEGABYTES", "128"))
CUT = 0.9
FETCHED_AGAIN = 0.05
LINK_SECONDS = 300
MEMORY = 64 * 1024 * 1024
"""What the large recording may take above what a small one takes."""


@contextmanager
def _world(folder: Path, megabytes: float, clock: TestRuntime) -> Iterator[World]:
    options = WorldOptions(recordings=1, megabytes=megabytes, days=1, calm=True, link_seconds={PROVIDER: LINK_SECONDS})
    with running_sandbox(options, clock=clock.now) as sandbox, running_nursery(folder) as nursery:
        yield World(sandbox, nursery, folder)


def _link(sandbox: Sandbox, tmp_path: Path, execution_id: str) -> str:
    """Ask for a link of our own, as old as the one that the run will have."""
    settings = load_settings(None, **{name.lower(): value for name, value in sandbox.env.items()})
    archive = Archive(settings, open_storage(str(tmp_path / "unused")))
    try:
        return archive.provider(PROVIDER).link(execution_id, Leg.MAIN).url
    finally:
        archive.close()


def test_a_large_recording_goes_on_where_it_was_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The old link is refused, a fresh one brings the rest, the copy is right, and memory does not grow with the body."""
    with _world(tmp_path, 1, TestRuntime()) as small:
        ended = small.run(Folder(tmp_path / "small"))
        assert ended.code == 0, ended.text
        usual = ended.peak
    clock = TestRuntime()
    with _world(tmp_path, MEGABYTES, clock) as world:
        place = Folder(tmp_path / "archive")
        (row,) = world.truth
        assert row["length"] >= MEGABYTES * 1024**2
        old = _link(world.sandbox, tmp_path, row["execution_id"])
        assert httpx.get(old, headers={"Range": "bytes=0-9"}, trust_env=False).status_code == httpx.codes.PARTIAL_CONTENT
        world.sandbox.reset()
        world.sandbox.set_fault("media-truncate", int(row["length"] * CUT))
        with world.paused_at(place, Failpoint.LINK_ASKED, 2):  # it has broken, and is about to ask for a fresh link
            (counts,) = world.sandbox.requests()["recordings"]  # type: ignore[misc]
            assert counts["media_bytes"] >= row["length"] * CUT * 0.99  # type: ignore[index]
            clock.offset += LINK_SECONDS + 1
            refused = httpx.get(old, trust_env=False)
            assert (refused.status_code, "expired" in refused.text) == (httpx.codes.FORBIDDEN, True)
        assert world.ended.code == 0, world.ended.text
        (stored,) = media_files(place.root)
        with stored.open("rb") as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == row["sha256"]
        assert ask(place.root / "archive.duckdb", "SELECT state, sha256 FROM recordings") == [("archived", row["sha256"])]
        (counts,) = world.sandbox.requests()["recordings"]  # type: ignore[misc]
        sent: int = counts["media_bytes"]  # type: ignore[index]
        again = (sent - row["length"]) / row["length"]
        more = world.ended.peak - usual
        with capsys.disabled():
            print(  # noqa: T201 -- the figure
                f"\n{row['length']:,} bytes cut at {CUT:.0%}, link expired: {sent:,} bytes sent, {again:.2%} fetched again; "
                f"memory {more / 1024**2:+.0f} MiB beside a recording of 1 MiB"
            )
        assert again <= FETCHED_AGAIN
        assert world.fetched() == {row["execution_id"]: 2}
        assert more < MEMORY
