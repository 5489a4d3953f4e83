"""The archive on S3, through the command line: the same promises as on local disk."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from assets.recordings.manifest import is_event_file, parse_manifest
from sandbox.options import WorldOptions
from sandbox.server import Sandbox, running_sandbox
from tests.end_to_end.command import Operator, wait_until
from tests.end_to_end.conftest import all_days, new_operator
from tests.end_to_end.truth import ask, place_of
from tests.storage.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed

pytestmark = [pytest.mark.s3, pytest.mark.slow]

LARGE_MEGABYTES = 60
CUT_BYTES = 10_000_000
"""Beyond one PUT, so that parts have been sent when a body is cut."""
SLOW_BYTES_PER_SECOND = 8_000_000


@dataclass(frozen=True)
class Bucket:
    """A look at the server by a client that is not the archive's."""

    server: Seaweed
    prefix: str

    @property
    def root(self) -> str:
        """The archive root."""
        return f"s3://{self.server.bucket}/{self.prefix}"

    @property
    def client(self) -> Any:  # noqa: ANN401 -- botocore makes its classes at run time
        """A plain S3 client."""
        session = botocore.session.get_session()
        return session.create_client(
            "s3", "us-east-1", endpoint_url=self.server.endpoint, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
        )

    def objects(self, folder: str = "") -> list[str]:
        """Return the keys of all objects below the root, relative to it."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.server.bucket, Prefix=f"{self.prefix}/{folder}")
        return sorted(item["Key"].removeprefix(f"{self.prefix}/") for page in pages for item in page.get("Contents", []))

    def read(self, key: str) -> bytes:
        """Return the bytes of an object."""
        body: bytes = self.client.get_object(Bucket=self.server.bucket, Key=f"{self.prefix}/{key}")["Body"].read()
        return body

    def uploads(self) -> list[str]:
        """Return the keys of unfinished multipart uploads below the root."""
        listed = self.client.list_multipart_uploads(Bucket=self.server.bucket).get("Uploads", [])
        return [item["Key"] for item in listed if item["Key"].startswith(self.prefix)]


def on_s3(seaweed: Seaweed, sandbox: Sandbox, folder: Path) -> tuple[Operator, Bucket]:
    """Return an operator whose archive is at a fresh prefix, and a look at that prefix."""
    bucket = Bucket(seaweed, f"{uuid.uuid4().hex}/archive")
    plain = new_operator(sandbox, folder)
    return Operator(folder, {**plain.env, **seaweed.environment, "ARCHIVE_ROOT": bucket.root}), bucket


def assert_archived(bucket: Bucket, truth: list[dict[str, Any]]) -> None:
    """Assert that each recording is one right object with sidecar and manifest line, and that nothing else is there."""
    objects = bucket.objects("recordings/")
    listed: dict[str, str] = {}
    for key in bucket.objects("manifests/"):
        listed |= parse_manifest(bucket.read(key).decode())
    assert sorted(path for path in listed if not is_event_file(path)) == objects
    assert len(objects) == 2 * len(truth)
    expected = {place_of(row): row for row in truth}
    for key in objects:
        data = bucket.read(key)
        assert hashlib.sha256(data).hexdigest() == listed[key]
        provider, day, name, file = key.split("/")[1:]
        leg, _, kind = file.partition(".")
        row = expected[(provider.removeprefix("provider="), day.removeprefix("date="), name, leg)]
        if kind == "json":
            assert json.loads(data)["sha256"] == row["sha256"]
        else:
            assert (listed[key], len(data)) == (row["sha256"], row["length"])


def test_a_day_of_each_provider(seaweed: Seaweed, tmp_path: Path) -> None:
    """Recordings, sidecars, manifests, events, lake and catalog are there and right, and every command works on them."""
    with running_sandbox(WorldOptions(recordings=9, megabytes=1, days=1, calm=True)) as sandbox:
        operator, bucket = on_s3(seaweed, sandbox, tmp_path / "work")
        ended = operator.run("run", "--date", sandbox.window["last"], "--json")
        assert ended.code == 0, ended.text
        truth: list[dict[str, Any]] = sandbox.truth()["recordings"]  # type: ignore[assignment]
        assert {row["provider"] for row in truth} == {"asteroid", "feather", "kataven"}
        assert_archived(bucket, truth)
        folders = {key.rpartition("/")[0].rpartition("/")[0] for key in bucket.objects("lake/")}
        for kind in ("executions", "recordings"):
            assert {f"lake/{kind}/provider={name}" for name in ("asteroid", "feather", "kataven")} <= folders
        pointer = json.loads(bucket.read("catalog/current.json"))
        assert len(bucket.read(pointer["path"])) == pointer["bytes"]
        catalog = tmp_path / "fetched.duckdb"
        assert operator.run("catalog", "--copy", str(catalog)).code == 0
        assert ask(catalog, "SELECT count(*) FROM recordings WHERE state = 'archived'") == [(len(truth),)]
        queried = operator.run("query", "SELECT sum(archived) AS archived FROM coverage", "--json")
        assert queried.json["rows"] == [{"archived": len(truth)}]
        told = operator.run("status", "--json").json
        assert sum(lane["states"]["archived"] for lane in told["providers"].values()) == len(truth)
        assert operator.run("verify", "--json").json == {
            "copies": len(truth),
            "bytes": sum(row["length"] for row in truth),
            "faults": [],
            "notes": [],
        }
        doctor = operator.run("doctor", "--json")
        assert doctor.code == 0, doctor.text
        before = sandbox.requests()["recordings"]
        assert operator.run("run", "--date", sandbox.window["last"]).code == 0
        assert sandbox.requests()["recordings"] == before


@pytest.fixture(scope="module")
def world() -> WorldOptions:
    """Few recordings, some of them far beyond one PUT."""
    return WorldOptions(recordings=3, megabytes=LARGE_MEGABYTES, days=1, calm=True)


def test_a_transfer_that_breaks_off_leaves_nothing(seaweed: Seaweed, sandbox: Sandbox, tmp_path: Path) -> None:
    """Bodies that end in the middle, beyond the first parts: no object, no dangling part; the next run completes."""
    operator, bucket = on_s3(seaweed, sandbox, tmp_path / "work")
    truth: list[dict[str, Any]] = sandbox.truth()["recordings"]  # type: ignore[assignment]
    large = {row["execution_id"] for row in truth if row["length"] > CUT_BYTES}
    assert large
    sandbox.set_fault("media-truncate", CUT_BYTES)
    sandbox.set_fault("media-no-ranges")
    sandbox.set_fault("media-new-etag")
    try:
        operator.run("run", *all_days(sandbox), TRANSIENT_RETRIES="0")
        assert [key for key in bucket.objects("recordings/") if key.split("/")[3] in large] == []
        assert bucket.objects(".tmp") == []
        assert bucket.uploads() == []
    finally:
        sandbox.clear_faults()
    ended = operator.run("run", *all_days(sandbox))
    assert ended.code == 0, ended.text
    assert_archived(bucket, truth)


def test_a_killed_transfer_leaves_nothing_visible(seaweed: Seaweed, sandbox: Sandbox, tmp_path: Path) -> None:
    """Killed while parts are being sent: no object at the recording's key; the next run completes, and clears up."""
    operator, bucket = on_s3(seaweed, sandbox, tmp_path / "work")
    sandbox.set_fault("media-slow", SLOW_BYTES_PER_SECOND)
    try:
        process = operator.start("run", *all_days(sandbox))
        wait_until(lambda: process.poll() is not None or bool(bucket.uploads()), "a multipart upload")
        assert process.poll() is None, operator.ended(process).text
        os.killpg(process.pid, signal.SIGKILL)
        operator.ended(process)
        unfinished = set(bucket.uploads())
        assert unfinished
        assert not unfinished & {f"{bucket.prefix}/{key}" for key in bucket.objects()}
    finally:
        sandbox.clear_faults()
    ended = operator.run("run", *all_days(sandbox))
    assert ended.code == 0, ended.text
    assert_archived(bucket, sandbox.truth()["recordings"])  # type: ignore[arg-type]
    assert (bucket.uploads(), bucket.objects(".tmp")) == ([], [])
    assert operator.run("verify").code == 0
