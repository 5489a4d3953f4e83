"""What only a disk can do wrong: dying writers, rival processes, permissions, file systems that lack something."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resources.errors import AlreadyStoredError, StorageError
from resources.storage import ArchiveStorage, open_storage

_PROJECT = Path(__file__).parents[2]
_NOBODY = 65534

_DYING_WRITER = """
import sys
from resources.storage import open_storage
def chunks():
    for _ in range(20):
        yield b"x" * 1000000
    print("written", flush=True)
    sys.stdin.read()
open_storage(sys.argv[1]).create_from("a/b.mp4", chunks())
"""

_RIVAL = """
import sys
from resources.storage import open_storage
from resources.errors import AlreadyStoredError
storage = open_storage(sys.argv[1])
def chunks():
    yield sys.argv[2].encode() * 100000
    print("ready", flush=True)
    sys.stdin.readline()
    yield sys.argv[2].encode() * 100000
try:
    storage.create_from("a/b.mp4", chunks())
    print("won", flush=True)
except AlreadyStoredError:
    print("lost", flush=True)
"""


def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", script, *arguments], cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def storage(tmp_path: Path) -> ArchiveStorage:
    """An empty archive in a folder."""
    return open_storage(str(tmp_path / "archive"))


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Be nobody meanwhile where the tests run as root, for whom no permission counts."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def _unfinished(storage: ArchiveStorage) -> list[Path]:
    folder = storage.local_path()
    assert folder is not None
    return sorted((folder / ".tmp").iterdir())


def test_a_killed_writer_leaves_nothing_visible_and_the_sweep_removes_the_rest(storage: ArchiveStorage) -> None:
    """While it lives its file is spared; after kill -9 nothing is visible, and one sweep cleans up."""
    writer = _start(_DYING_WRITER, storage.url)
    try:
        assert _line(writer) == "written"
        assert not storage.exists("a/b.mp4")
        assert list(storage.list()) == []
        assert len(_unfinished(storage)) == 1
        assert storage.sweep() == 0
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        assert not storage.exists("a/b.mp4")
        assert list(storage.list()) == []
        assert storage.sweep(alive=lambda _: True) == 1  # the lock is the proof, not the process id
        assert _unfinished(storage) == []
        assert storage.create_from("a/b.mp4", iter((b"x",))) == 1
    finally:
        _end(writer)


def test_exactly_one_of_many_processes_creates(storage: ArchiveStorage) -> None:
    """Four processes that have passed the first check publish at once: one wins."""
    rivals = [_start(_RIVAL, storage.url, str(number)) for number in range(4)]
    try:
        assert [_line(rival) for rival in rivals] == ["ready"] * 4
        for rival in rivals:
            assert rival.stdin is not None
            rival.stdin.write("\n")
            rival.stdin.flush()
        results = [_line(rival) for rival in rivals]
        assert sorted(results) == ["lost", "lost", "lost", "won"]
        assert storage.read("a/b.mp4") == str(results.index("won")).encode() * 200_000
        assert _unfinished(storage) == []
    finally:
        for rival in rivals:
            _end(rival)


def test_a_file_system_without_links_refuses_too(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where links are not supported writers take turns, and a taken name is still refused."""

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", no_link)
    storage.create("a", b"first")
    with pytest.raises(AlreadyStoredError):
        storage.create("a", b"second")

    def chunks() -> Iterator[bytes]:
        yield b"slow"
        storage.create("b", b"fast")

    with pytest.raises(AlreadyStoredError):
        storage.create_from("b", chunks())
    assert (storage.read("a"), storage.read("b")) == (b"first", b"fast")
    assert storage.sweep() == 0


def test_a_file_system_without_locks_is_never_swept(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can tell who lives, nothing is removed, and writing works."""
    storage.write("a", b"x")

    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    storage.write("b", b"x")
    root = storage.local_path()
    assert root is not None
    (root / ".tmp/1-abandoned").write_bytes(b"x")
    assert storage.sweep() == 0


def test_a_writer_whose_file_was_swept_before_its_lock_takes_another(
    storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment between making a temporary file and locking it does no harm."""
    real, taken = os.open, []

    def swept_at_once(path: str | Path, flags: int, *rest: int) -> int:
        descriptor = real(path, flags, *rest)
        if flags & os.O_EXCL and not taken:
            taken.append(path)
            Path(path).unlink()
        return descriptor

    monkeypatch.setattr("os.open", swept_at_once)
    storage.create("a", b"x")
    assert taken
    assert storage.read("a") == b"x"


def test_a_full_disk_is_said_in_words(storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC becomes one line that names the root and the remedy, and nothing stays behind."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="full") as caught:
        storage.write("a", b"x")
    assert storage.url in str(caught.value)
    assert "ARCHIVE_ROOT" in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert list(storage.list()) == []
    assert _unfinished(storage) == []


def test_a_root_without_write_permission_fails_the_probe(storage: ArchiveStorage) -> None:
    """Doctor hears of it in the first check, with the remedy."""
    root = storage.local_path()
    assert root is not None
    root.mkdir()
    root.chmod(0o500)
    with ordinary_user():
        (check,) = storage.probe()
    assert not check.passed
    assert "permission" in str(check.error)
    assert storage.url in str(check.error)
    root.chmod(0o700)


@pytest.mark.parametrize(("code", "words"), [(errno.EROFS, "read-only"), (errno.EACCES, "permission")])
def test_an_unwritable_root_fails_the_probe(
    storage: ArchiveStorage, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    """A read-only mount and a missing permission are told apart."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refuse)
    (check,) = storage.probe()
    assert words in str(check.error)
    assert "ARCHIVE_ROOT" in str(check.error)


def test_a_root_below_a_file_is_said_in_words(tmp_path: Path) -> None:
    """A path that runs through a file cannot be made into a root."""
    (tmp_path / "file").write_bytes(b"")
    storage = open_storage(str(tmp_path / "file/archive"))
    assert not storage.exists("a")
    with pytest.raises(StorageError, match="not a folder"):
        storage.write("a", b"x")


def test_files_have_ordinary_permissions(storage: ArchiveStorage) -> None:
    """Analysts of the same machine can read what the umask lets them."""
    old = os.umask(0o022)
    try:
        storage.create("a/b", b"x")
    finally:
        os.umask(old)
    path = storage.local_path("a/b")
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.stat().st_nlink == 1


def test_a_trial_leaves_no_folder(tmp_path: Path) -> None:
    """What ``doctor`` tries in the root is gone afterwards, its folder too; one that others are in stays."""
    storage = open_storage(str(tmp_path))
    assert all(check.passed for check in storage.probe())
    assert not (tmp_path / "probe").exists()
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "another").write_bytes(b"trial")
    assert all(check.passed for check in storage.probe())
    assert (tmp_path / "probe" / "another").exists()
