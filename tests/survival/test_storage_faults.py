"""The fault matrix: what a storage can do to a run, on local disk and on S3.

In every cell the run fails with a message that names the root and the remedy, nothing is half-published, and the next run
completes. Faults are real where they can be had: a size-limited tmpfs and a read-only mount need a Linux where the tests may
mount (root with CAP_SYS_ADMIN); elsewhere these cells are skipped, and the limit of a process's file size stands in for the
full disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from resources.failpoints import Failpoint
from tests.end_to_end.truth import ask
from tests.storage.seaweed import Seaweed
from tests.survival.checks import check_ended, check_wreck
from tests.survival.conftest import World
from tests.survival.nursery import FILE_BYTES, MUTATIONS, ORDINARY
from tests.survival.places import Bucket, Folder, Place
from tests.survival.proxy import Door, Refusal, running_door

pytestmark = pytest.mark.slow

SMALL_DISK = "size=2m"
"""Less than any recording of the world has."""


@dataclass(frozen=True)
class Stage:
    """What a fault plays on.

    Attributes:
        world: the sandbox and its processes.
        place: the root.
        door: in front of S3; shut by some faults.
    """

    world: World
    place: Place
    door: Door | None = None

    @property
    def folder(self) -> Path:
        """The local root."""
        assert isinstance(self.place, Folder)
        return self.place.root

    @property
    def root(self) -> str:
        """The root as a message names it."""
        return self.place.environment["ARCHIVE_ROOT"]


Strike = Callable[[Stage], AbstractContextManager[None]]
"""Does the harm, and takes it back at the end of the block."""


@dataclass(frozen=True)
class Cell:
    """One fault on one kind of root.

    Attributes:
        words: of the remedy that the message names.
        strike: the harm; before the run, or in the middle of it.
        at: where the run is when it strikes; None for a fault that is there from the beginning.
        settings: of the run that meets the fault.
        wipes: whether what had been published is lost with it.
    """

    words: str
    strike: Strike = lambda _: contextlib.nullcontext()
    at: Failpoint | None = None
    settings: dict[str, str] = field(default_factory=dict[str, str])
    wipes: bool = False


# -- local disk


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs at ``folder``, while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux" or _command("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs a Linux where the tests may mount: root with CAP_SYS_ADMIN")
    try:
        yield
    finally:
        assert _command("umount", str(folder)) == 0


def _command(*arguments: str) -> int:
    return subprocess.run(["/usr/bin/env", *arguments], capture_output=True, check=False).returncode  # noqa: S603


@contextlib.contextmanager
def _full_disk(stage: Stage) -> Iterator[None]:
    """A real disk that has no room; then somebody makes it larger."""
    with _mounted(stage.folder, SMALL_DISK):
        yield
        assert _command("mount", "-o", "remount,size=200m", str(stage.folder)) == 0
        kept = stage.folder.with_name("kept")
        shutil.copytree(stage.folder, kept)
    shutil.rmtree(stage.folder)
    kept.rename(stage.folder)


@contextlib.contextmanager
def _read_only(stage: Stage) -> Iterator[None]:
    with _mounted(stage.folder, "ro"):
        yield


@contextlib.contextmanager
def _apart(stage: Stage) -> Iterator[None]:
    """Recordings lie on a file system of their own, or under a quota of their own: what is in .tmp/ cannot be linked there."""
    with _mounted(stage.folder / "recordings", "size=200m"):
        yield


@contextlib.contextmanager
def _no_permission(stage: Stage) -> Iterator[None]:
    """Nobody may write into any folder of the root."""
    folders = [stage.folder, *(path for path in stage.folder.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    yield
    for folder in folders:
        folder.chmod(0o700)


@contextlib.contextmanager
def _removed(stage: Stage) -> Iterator[None]:
    """The root is gone at once: deleted, or unmounted."""
    shutil.rmtree(stage.folder.rename(stage.folder.with_name("gone")))
    yield


# -- S3


def _refused(refusal: Refusal) -> Strike:
    @contextlib.contextmanager
    def strike(stage: Stage) -> Iterator[None]:
        assert stage.door is not None
        stage.door.refuse(refusal)
        yield
        stage.door.open()

    return strike


@contextlib.contextmanager
def _down(stage: Stage) -> Iterator[None]:
    """All connections break, and there is no new one."""
    assert stage.door is not None
    stage.door.cut()
    yield
    stage.door.open()


MIDDLE = Failpoint.PART_STORED
MATRIX: dict[str, dict[str, Cell | str]] = {
    "full": {
        "local": Cell("free space", _full_disk),
        "s3": Cell("free space", _refused(Refusal(403, "QuotaExceeded", reads=False)), MIDDLE),
    },
    "files-too-large": {
        "local": Cell("ulimit -f", settings={FILE_BYTES: "2000000"}),
        "s3": "objects have no such limit: a recording may have 78 GiB",
    },
    "quota-of-a-folder": {
        "local": Cell("free space", settings={MUTATIONS: "folder_quota"}),
        "s3": "see full: a bucket's quota is QuotaExceeded",
    },
    "folders-apart": {
        "local": Cell("on one", _apart),
        "s3": "a bucket is one",
    },
    "permission-lost": {
        "local": Cell("permission denied", _no_permission, MIDDLE, {ORDINARY: "yes"}),
        "s3": Cell("permission denied", _refused(Refusal(403, "AccessDenied")), MIDDLE),
    },
    "read-only": {
        "local": Cell("read-only", _read_only),
        "s3": Cell("permission denied", _refused(Refusal(403, "AccessDenied", reads=False))),
    },
    "down": {
        "local": "a disk that is gone is the next row",
        "s3": Cell("cannot be reached", _down, MIDDLE),
    },
    "removed": {
        "local": Cell("Bring it back", _removed, MIDDLE, wipes=True),
        "s3": Cell("bucket does not exist", _refused(Refusal(404, "NoSuchBucket")), MIDDLE),
    },
    "key-expired": {
        "local": "a disk has no keys",
        "s3": Cell("renew AWS_SESSION_TOKEN", _refused(Refusal(400, "ExpiredToken")), MIDDLE),
    },
}
"""Fault to kind of root to what happens, or why it cannot."""

CELLS = [
    pytest.param(fault, kind, marks=[pytest.mark.s3] if kind == "s3" else [], id=f"{fault}-{kind}")
    for fault, row in MATRIX.items()
    for kind, cell in row.items()
    if isinstance(cell, Cell)
]


@pytest.fixture
def stage(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Stage]:
    """An empty root of the kind that the test is about."""
    if request.getfixturevalue("kind") == "local":
        yield Stage(world, Folder(tmp_path / "archive"))
        return
    server: Seaweed = request.getfixturevalue("seaweed")
    with running_door(server) as door:
        yield Stage(world, Bucket(door.front, f"{uuid.uuid4().hex}/archive", tmp_path / "copy"), door)


@pytest.mark.parametrize(("fault", "kind"), CELLS)
def test_the_run_fails_clearly_and_the_next_one_completes(stage: Stage, fault: str, kind: str) -> None:
    """The message names root and remedy; nothing is half-published; after the fault everything is archived once."""
    cell = MATRIX[fault][kind]
    assert isinstance(cell, Cell)
    world, place = stage.world, stage.place
    if cell.at is None:
        with cell.strike(stage):
            ended = world.run(place, **cell.settings)
    else:
        with contextlib.ExitStack() as harm:
            with world.paused_at(place, cell.at, 1, AWS_MAX_ATTEMPTS="2", **cell.settings):
                harm.enter_context(cell.strike(stage))
            ended = world.ended
    last = ended.text.strip().rpartition("\n")[2]
    assert ended.code == 1, ended.text
    assert last.startswith("resources.errors.StorageError: "), ended.text
    assert stage.root in last
    assert cell.words in last
    published = check_wreck(place, world.truth)
    assert not (published and cell.wipes)
    before = world.fetched()
    ended = world.run(place)
    assert ended.code == 0, ended.text
    check_ended(place, world.truth, published, before, world.fetched())


def test_every_cell_is_filled() -> None:
    """For each fault and each kind of root there is a test, or a reason why there is none."""
    assert all(set(row) == {"local", "s3"} for row in MATRIX.values())


@pytest.mark.parametrize("kind", ["local", pytest.param("s3", marks=pytest.mark.s3)])
def test_two_writers_of_one_key(stage: Stage, kind: str) -> None:
    """Two real processes have a recording whole at the same moment: one publishes it, the other adopts it, both end well."""
    world, place = stage.world, stage.place
    point = Failpoint.TEMPORARY_SYNCED if kind == "local" else Failpoint.UPLOAD_SENT
    hit = 1 if kind == "s3" else 4  # on disk the first three are of the discovery, the lake and the note that it was read
    command = [sys.executable, "-m", "tests.survival.run", *(day.isoformat() for day in world.days)]
    with world.paused_at(place, point, hit):
        rival = subprocess.run(  # noqa: S603
            command, env=world.environment(place), capture_output=True, text=True, check=False, timeout=120
        )
        assert rival.returncode == 0, rival.stderr
        published = check_wreck(place, world.truth)
        assert len(published) == len(world.truth)
    ended = world.ended
    assert ended.code == 0, ended.text
    counted = world.fetched()
    check_ended(place, world.truth, published, counted, counted)
    outcomes = dict(ask(place.look() / "archive.duckdb", "SELECT outcome, count(*) FROM recording_attempts GROUP BY ALL"))
    assert outcomes["archived"] == len(world.truth)
    assert outcomes["adopted"] >= 1
