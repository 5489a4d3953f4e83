"""What only S3 can do wrong: dangling parts, memory, endpoints, credentials, buckets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from resources.errors import AlreadyStoredError, StorageError
from resources.failpoints import VARIABLE, Failpoint
from resources.storage import ArchiveStorage, open_storage
from tests.storage.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed

pytestmark = pytest.mark.s3

MIB = 1024 * 1024
_PROJECT = Path(__file__).parents[2]


class RefusedBodyError(Exception):
    """What a verifying iterator raises."""


@pytest.fixture
def s3(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Seaweed:
    """The server, with the environment pointing at it."""
    seaweed.use(monkeypatch)
    return seaweed


@pytest.fixture
def root(s3: Seaweed) -> str:
    """A fresh prefix."""
    return f"s3://{s3.bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def storage(root: str) -> ArchiveStorage:
    """An empty archive on S3, opened as users open it."""
    return open_storage(root)


def _uploads(s3: Seaweed) -> list[dict[str, Any]]:
    client = botocore.session.get_session().create_client("s3", endpoint_url=s3.endpoint)
    uploads: list[dict[str, Any]] = client.list_multipart_uploads(Bucket=s3.bucket).get("Uploads", [])
    return uploads


def _parts(count: int, size: int = MIB) -> Iterator[bytes]:
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize("how", ["iterator", "race", "interrupt"])
def test_no_parts_stay_behind(s3: Seaweed, storage: ArchiveStorage, how: str) -> None:
    """However a large stream fails, its upload is aborted: no object, and no parts to pay for."""
    uploads: list[int] = []

    def chunks() -> Iterator[bytes]:
        yield from _parts(30)
        uploads.append(len(_uploads(s3)))
        if how == "iterator":
            raise RefusedBodyError
        if how == "interrupt":
            raise KeyboardInterrupt
        storage.create("a", b"faster")

    expected = {"iterator": RefusedBodyError, "race": AlreadyStoredError, "interrupt": KeyboardInterrupt}[how]
    with pytest.raises(expected):
        storage.create_from("a", chunks())
    assert uploads == [1]
    assert _uploads(s3) == []
    assert storage.exists("a") == (how == "race")


def test_a_small_stream_is_one_put(s3: Seaweed, storage: ArchiveStorage) -> None:
    """Below 8 MiB no multipart upload is started."""
    uploads: list[int] = []

    def chunks() -> Iterator[bytes]:
        yield from _parts(8)
        uploads.append(len(_uploads(s3)))

    assert storage.create_from("a", chunks()) == 8 * MIB
    assert uploads == [0]


_MEMORY = """
import resource, sys
from resources.storage import open_storage
storage = open_storage(sys.argv[1])
storage.create_from("warm", (b"x" * 1048576 for _ in range(20)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
storage.create_from("large", (b"x" * 1048576 for _ in range(256)))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_grow_with_the_body(root: str, storage: ArchiveStorage) -> None:
    """A body of 256 MiB takes a few parts of memory, not 256 MiB."""
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _MEMORY, root], cwd=_PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    assert int(ran.stdout) < 64
    assert storage.info("large").size == 256 * MIB


@pytest.mark.parametrize("where", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "profile"])
def test_both_clients_find_the_same_endpoint(
    s3: Seaweed, root: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    """Endpoint and credentials may come from either variable or from a profile: what one client writes, the other reads."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if where == "profile":
        (tmp_path / "config").write_text(f"[profile archive]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n")
        (tmp_path / "credentials").write_text(
            f"[archive]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_PROFILE", "archive")
    else:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv(where, s3.endpoint)
    storage = open_storage(root)
    storage.create("small", b"x")
    assert storage.create_from("large", _parts(9)) == 9 * MIB
    assert storage.read("small") == b"x"
    assert [found.path for found in storage.list()] == ["large", "small"]
    assert s3.endpoint in storage.describe()


@pytest.mark.parametrize("operation", ["write", "create", "create_large", "read", "list", "exists"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "credentials|permission"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, "cannot be reached"),
    ],
    ids=["credentials", "endpoint"],
)
def test_what_is_wrong_is_said_in_one_line(
    root: str, s3: Seaweed, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str, operation: str
) -> None:
    """Wrong credentials and an unreachable endpoint name root and remedy, and no secret, whatever is tried."""
    assert s3
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    storage = open_storage(root)
    attempts = {
        "write": lambda: storage.write("a", b"x"),
        "create": lambda: storage.create("a", b"x"),
        "create_large": lambda: storage.create_from("a", _parts(9)),
        "read": lambda: storage.read("a"),
        "list": lambda: list(storage.list()),
        "exists": lambda: storage.exists("a"),
    }
    with pytest.raises(StorageError, match=words) as caught:
        attempts[operation]()
    text = str(caught.value)
    assert root in text
    assert "\n" not in text
    assert not any(secret in text for secret in ("wrong-secret", SECRET_KEY, ACCESS_KEY))


def test_a_missing_bucket_is_said_in_words(s3: Seaweed) -> None:
    """The first check of the probe says that there is no bucket."""
    assert s3
    (check,) = open_storage("s3://no-such-bucket/archive").probe()
    assert "bucket does not exist" in str(check.error)


_WRITER = """
import sys
from resources.storage import open_storage
def chunks():
    for _ in range(30):
        yield b"x" * 1048576
    print("sent", flush=True)
    sys.stdin.readline()
open_storage(sys.argv[1]).create_from("a", chunks())
"""


@contextmanager
def writer(root: str) -> Iterator[subprocess.Popen[str]]:
    """A real process that has sent some parts of the object ``a``, and waits for a line to go on."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", _WRITER, root], cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "sent\n"
            yield process
        finally:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill -9 a writer."""
    process.kill()
    assert process.wait() == -signal.SIGKILL


def markers(storage: ArchiveStorage) -> list[str]:
    """Return the names of the temporary objects."""
    found = storage.filesystem.find(f"{storage.full_path()}/.tmp", detail=True)
    return [path.rpartition("/")[2] for path, details in found.items() if details["type"] == "file"]


def test_what_a_killed_writer_left_is_found_and_aborted(root: str, storage: ArchiveStorage, s3: Seaweed) -> None:
    """While it lives its upload is spared; after kill -9 nothing is visible, and one sweep removes upload and marker."""
    with writer(root) as process:
        assert len(_uploads(s3)) == 1
        assert storage.sweep() == 0
        kill(process)
    assert list(storage.list()) == []
    assert (len(_uploads(s3)), len(markers(storage))) == (1, 1)
    assert storage.sweep() == 1
    assert (_uploads(s3), markers(storage)) == ([], [])
    assert storage.create_from("a", _parts(9)) == 9 * MIB


def test_a_writer_that_lives_through_sweeps_completes(root: str, storage: ArchiveStorage, s3: Seaweed) -> None:
    """A sweep of another process takes nothing from it, and nothing is left when it has ended."""
    with writer(root) as process:
        assert storage.sweep() == 0
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait() == 0
    assert storage.info("a").size == 30 * MIB
    assert (_uploads(s3), markers(storage)) == ([], [])


def test_a_key_that_a_living_writer_uploads_too_is_left_alone(root: str, storage: ArchiveStorage, s3: Seaweed) -> None:
    """S3 does not tell whose an upload is: the dead writer's waits until the living one is done."""
    with writer(root) as dead, writer(root) as living:
        kill(dead)
        storage.sweep()
        assert (len(_uploads(s3)), len(markers(storage))) == (2, 2)
        assert living.stdin is not None
        living.stdin.write("\n")
        living.stdin.flush()
        assert living.wait() == 0
    assert storage.info("a").size == 30 * MIB
    assert storage.sweep() == 1
    assert (_uploads(s3), markers(storage)) == ([], [])


def test_uploads_of_other_machines_and_of_others_are_left_alone(root: str, storage: ArchiveStorage, s3: Seaweed) -> None:
    """Neither what another machine has marked nor an upload that nobody has marked is ever aborted."""
    client = botocore.session.get_session().create_client("s3", endpoint_url=s3.endpoint)
    prefix = root.partition(f"{s3.bucket}/")[2]
    with writer(root) as process:
        mine = markers(storage)[0]
        strange = [client.create_multipart_upload(Bucket=s3.bucket, Key=f"{prefix}/{key}") for key in ("b", "a/b", "c")]
        elsewhere = f"{storage.full_path()}/.tmp/{'0' * 16}-{mine.partition('-')[2]}"
        storage.filesystem.pipe_file(elsewhere, b'{"path":"c"}')
        kill(process)
    assert storage.sweep() == 1
    assert sorted(upload["Key"] for upload in _uploads(s3)) == [f"{prefix}/{key}" for key in ("a/b", "b", "c")]
    assert markers(storage) == [elsewhere.rpartition("/")[2]]
    for upload in strange:
        client.abort_multipart_upload(Bucket=s3.bucket, Key=upload["Key"], UploadId=upload["UploadId"])


_PUTTER = """
import sys
from pathlib import Path
from resources.storage import open_storage
open_storage(sys.argv[1]).put_file("archive.duckdb", Path(sys.argv[2]))
"""


def test_a_catalog_that_was_being_put_is_cleared_up_too(
    root: str, storage: ArchiveStorage, s3: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large object that is replaced is an upload as well: killed in its middle, it leaves the former one; a sweep the rest."""
    storage.write("archive.duckdb", b"former")
    local = tmp_path / "catalog"
    local.write_bytes(b"x" * 20 * MIB)
    command = [sys.executable, "-c", _PUTTER, root, str(local)]
    monkeypatch.setenv(VARIABLE, f"{Failpoint.PART_STORED.value}:2")
    assert subprocess.run(command, cwd=_PROJECT, check=False, timeout=60).returncode == -signal.SIGKILL  # noqa: S603
    monkeypatch.delenv(VARIABLE)
    assert storage.read("archive.duckdb") == b"former"
    assert (len(_uploads(s3)), len(markers(storage))) == (1, 1)
    assert storage.sweep() == 1
    assert (_uploads(s3), markers(storage)) == ([], [])
    assert subprocess.run(command, cwd=_PROJECT, check=False, timeout=60).returncode == 0  # noqa: S603
    assert storage.info("archive.duckdb").size == 20 * MIB
    assert (_uploads(s3), markers(storage)) == ([], [])
