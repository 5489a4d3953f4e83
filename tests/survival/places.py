"""An archive root as somebody sees it who knows nothing of the archive's code: files, or objects of a bucket."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import botocore.session

from tests.end_to_end.truth import media_files
from tests.storage.seaweed import ACCESS_KEY, REGION, SECRET_KEY, Seaweed

Identity = tuple[object, ...]
"""What changes when an object is written again, even with the same bytes."""


class Place(Protocol):
    """Where an archive lies."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings that lead a run there."""
        ...

    def look(self) -> Path:
        """Return a local folder with everything that is visible; as it is now."""
        ...

    def identities(self) -> dict[str, Identity]:
        """Return path and identity of each recording; sidecars are none."""
        ...

    def fill(self, archive: Path) -> None:
        """Put there what a local archive holds, but for its catalog: that is one of another kind on another kind of root."""
        ...

    def unfinished(self) -> list[str]:
        """Return what writers have left half-written."""
        ...

    def clear(self) -> None:
        """Remove everything."""
        ...


@dataclass(frozen=True)
class Folder:
    """A root on local disk."""

    root: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings."""
        return {"ARCHIVE_ROOT": str(self.root)}

    def look(self) -> Path:
        """Return the root itself."""
        return self.root

    def identities(self) -> dict[str, Identity]:
        """Return inode and time of each recording."""
        found = {path.relative_to(self.root).as_posix(): path.stat() for path in media_files(self.root)}
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}

    def fill(self, archive: Path) -> None:
        """Copy the files."""
        for path in _filed(archive):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(archive / path, self.root / path)

    def unfinished(self) -> list[str]:
        """Return the temporary files."""
        folder = self.root / ".tmp"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root)


def _filed(archive: Path) -> list[str]:
    """Return the paths of a local archive's files, but for its catalog and what is below ``.tmp/``."""
    trees = ("recordings", "manifests", "lake")
    return sorted(
        path.relative_to(archive).as_posix() for tree in trees for path in (archive / tree).rglob("*") if path.is_file()
    )


@functools.cache
def _client(endpoint: str) -> Any:  # noqa: ANN401 -- botocore makes its classes at run time
    session = botocore.session.get_session()
    return session.create_client(
        "s3", REGION, endpoint_url=endpoint, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
    )


@dataclass(frozen=True)
class Bucket:
    """A root on S3.

    Attributes:
        server: the S3 server.
        prefix: of the root in its bucket.
        copy: a local folder of its own, that :meth:`look` fills.
        copied: path to ETag of what is there.
    """

    server: Seaweed
    prefix: str
    copy: Path = field(repr=False)
    copied: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings."""
        return {**self.server.environment, "ARCHIVE_ROOT": f"s3://{self.server.bucket}/{self.prefix}"}

    def _objects(self) -> dict[str, Mapping[str, Any]]:
        pages = _client(self.server.endpoint).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.server.bucket, Prefix=f"{self.prefix}/")
        return {item["Key"].removeprefix(f"{self.prefix}/"): item for page in found for item in page.get("Contents", [])}

    def look(self) -> Path:
        """Return a copy of all objects, the current catalog under its local name. What was copied before is not copied again."""
        there = {name: item["ETag"] for name, item in self._objects().items()}
        for name in self.copied.keys() - there.keys():
            (self.copy / name).unlink()
        for name in (name for name, etag in there.items() if self.copied.get(name) != etag):
            target = self.copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            answer = _client(self.server.endpoint).get_object(Bucket=self.server.bucket, Key=f"{self.prefix}/{name}")
            target.write_bytes(answer["Body"].read())
        self.copied.clear()
        self.copied.update(there)
        pointer = self.copy / "catalog/current.json"
        if pointer.exists():
            shutil.copy(self.copy / json.loads(pointer.read_text())["path"], self.copy / "archive.duckdb")
        return self.copy

    def identities(self) -> dict[str, Identity]:
        """Return ETag and time of each recording."""
        found = self._objects()
        media = [name for name in found if name.startswith("recordings/") and not name.endswith(".json")]
        return {name: (found[name]["ETag"], found[name]["LastModified"]) for name in media}

    def fill(self, archive: Path) -> None:
        """Put the files as objects."""
        for path in _filed(archive):
            key, body = f"{self.prefix}/{path}", (archive / path).read_bytes()
            _client(self.server.endpoint).put_object(Bucket=self.server.bucket, Key=key, Body=body)

    def unfinished(self) -> list[str]:
        """Return the temporary objects and the keys of unfinished multipart uploads."""
        uploads = _client(self.server.endpoint).list_multipart_uploads(Bucket=self.server.bucket).get("Uploads", [])
        temporaries = [name for name in self._objects() if name.startswith(".tmp/")]
        return sorted(temporaries + [item["Key"] for item in uploads if item["Key"].startswith(f"{self.prefix}/")])

    def clear(self) -> None:
        """Remove all objects, and the copy."""
        doomed = [{"Key": f"{self.prefix}/{name}"} for name in self._objects()]
        _client(self.server.endpoint).delete_objects(Bucket=self.server.bucket, Delete={"Objects": doomed, "Quiet": True})
        shutil.rmtree(self.copy)
