"""Somebody wrote to the published catalog, and died: the next publication mends what that left."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from assets.catalog.publication import CATALOG_NAME, publish
from resources.failpoints import Failpoint, hooked
from resources.providers.registry import PROVIDERS
from resources.storage import open_storage
from tests.catalog.lakes import NOW, append, asked, event

SPECS = tuple(PROVIDERS.values())
LOG = f"{CATALOG_NAME}.wal"
WRITER = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE notes AS SELECT 1 AS note")
print("written", flush=True)
time.sleep(600)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder of a published archive."""
    root = tmp_path / "archive"
    append(open_storage(str(root)), [event(name="a")])
    publish(open_storage(str(root)), SPECS, NOW)
    return root


def writer(root: Path) -> subprocess.Popen[str]:
    """Start a process that has the catalog open for writing, and has written to it."""
    (root / CATALOG_NAME).chmod(0o644)  # as somebody who insists, or the superuser
    command = [sys.executable, "-c", WRITER, str(root / CATALOG_NAME)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 -- ours
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    assert (root / LOG).exists()
    return process


def kill(process: subprocess.Popen[str]) -> None:
    """End it as ``kill -9`` does."""
    process.kill()
    process.communicate()


@pytest.mark.parametrize("dies_first", [True, False])
def test_a_publication_removes_the_log_of_somebody_who_wrote_to_the_catalog(root: Path, *, dies_first: bool) -> None:
    """Whether the writer lives or is dead by then: afterwards, and at each step on the way, the catalog opens and answers."""
    process = writer(root)
    if dies_first:
        kill(process)
    append(open_storage(str(root)), [event(name="b")])
    steps: list[Failpoint] = []

    def look(at: Failpoint) -> None:
        if at in {Failpoint.OBJECT_NAMED, Failpoint.CATALOG_PUT, Failpoint.CATALOG_POINTED}:
            steps.append(at)
            if Failpoint.CATALOG_PUT in steps or dies_first:  # the living one still has its lock on the old file
                assert asked(root, "SELECT count(*) FROM recordings") == [(2,)]

    with hooked(look):
        publish(open_storage(str(root)), SPECS, NOW)
    assert Failpoint.CATALOG_POINTED in steps
    if not dies_first:
        kill(process)
    assert asked(root, "SELECT count(*) FROM recordings") == [(2,)]
    assert not list(root.glob(f"{LOG}*"))


def test_a_log_beside_a_newer_catalog_is_mended_by_the_next_publication(root: Path) -> None:
    """What an earlier version left: the file was replaced beside the log, and nobody could open it any more."""
    before = (root / CATALOG_NAME).read_bytes()
    kill(writer(root))
    log = (root / LOG).read_bytes()
    append(open_storage(str(root)), [event(name="b")])
    publish(open_storage(str(root)), SPECS, NOW)
    assert (root / CATALOG_NAME).read_bytes() != before
    (root / LOG).write_bytes(log)
    with pytest.raises(duckdb.Error, match="WAL"):
        asked(root, "SELECT 1")
    publish(open_storage(str(root)), SPECS, NOW)
    assert asked(root, "SELECT count(*) FROM recordings") == [(2,)]


def test_nobody_may_write_to_the_published_file_by_its_mode(root: Path) -> None:
    """After the first publication and after the next; what dies while it is put is swept all the same."""
    for _ in range(2):
        assert stat.S_IMODE((root / CATALOG_NAME).stat().st_mode) & 0o222 == 0
        publish(open_storage(str(root)), SPECS, NOW)
    assert list((root / ".tmp").iterdir()) == []
