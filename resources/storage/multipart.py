"""A large object on S3: a multipart upload that another process can find and undo.

Where the name must be free its *completion* carries ``If-None-Match: *``
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html): bounded memory, nothing visible before the
end, and no second winner. obstore cannot do that, and s3fs does it at three times the CPU time for each byte (measured).

How hard the last promise is depends on the server. AWS lets one of two completions win. SeaweedFS 4.48 looks and then completes,
without a lock: two that finish within the same milliseconds may both be told that they won (22 of 40 provoked races; a
conditional PUT: 0 of 150). The object is then whole, and the later one's.

What a killed process leaves is an unfinished upload: its parts are paid for, no listing of objects shows it, and S3 does not tell
whose it is. So a small marker below ``.tmp/`` says before the upload begins which process is about to upload what. A sweep aborts
the uploads of a key that only dead processes of this machine have marked.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, cast

import msgspec
import obstore
from obstore.store import ObjectStore

from resources.failpoints import Failpoint, reached
from resources.storage.faults import s3_code, storage_faults
from resources.storage.object_store import PARTS_IN_FLIGHT, SINGLE_PUT_BYTES
from resources.storage.owner import temporary_name
from resources.storage.paths import TEMPORARY

_IF_FREE = "*"
_NO_UPLOAD = "NoSuchUpload"


class _Meta(Protocol):
    endpoint_url: str
    region_name: str


class S3Client(Protocol):
    """The part of botocore's S3 client that is used here; botocore brings no types of its own."""

    meta: _Meta

    def create_multipart_upload(self, **request: object) -> Mapping[str, object]:
        """Start an upload."""
        ...

    def upload_part(self, **request: object) -> Mapping[str, object]:
        """Send a part."""
        ...

    def complete_multipart_upload(self, **request: object) -> Mapping[str, object]:
        """Make the object visible."""
        ...

    def abort_multipart_upload(self, **request: object) -> Mapping[str, object]:
        """Throw the parts away."""
        ...

    def list_multipart_uploads(self, **request: object) -> Mapping[str, object]:
        """Return a page of the unfinished uploads."""
        ...


class Marker(msgspec.Struct, frozen=True):
    """What a marker below ``.tmp/`` says: the path of the object that its owner is uploading, relative to the root."""

    path: str


@dataclass(frozen=True, slots=True)
class MultipartPut:
    """A large put for S3.

    Attributes:
        url: the root, for messages.
        client: asks S3.
        bucket, prefix: where the root is.
        store: obstore's store of the same root, for the markers.
    """

    url: str
    client: S3Client
    bucket: str
    prefix: str
    store: ObjectStore

    def put_large(self, path: str, chunks: Iterator[bytes], *, replace: bool) -> int:
        """Stream ``chunks`` to ``path``."""
        action = f"{'write' if replace else 'create'} {path}"
        marker = self._mark(path, action)
        target = self._target(path)
        with storage_faults(self.url, action):
            target["UploadId"] = str(self.client.create_multipart_upload(**target)["UploadId"])
        reached(Failpoint.UPLOAD_BEGUN)
        try:
            size = self._send(target, chunks, action, {} if replace else {"IfNoneMatch": _IF_FREE})
        except BaseException:
            # The pool has ended: a part that arrived after the abort would stay, and be paid for.
            with contextlib.suppress(Exception):  # the first error is the one to tell; what was not aborted stays marked
                self.client.abort_multipart_upload(**target)
                self._unmark(marker)
            raise
        reached(Failpoint.OBJECT_NAMED)
        with contextlib.suppress(Exception):  # the object is there; a sweep gets the marker
            self._unmark(marker)
        return size

    def clear(self, dead: Sequence[str], others: Callable[[], Iterable[str]]) -> None:
        """Abort the uploads that dead processes have marked, and remove their markers.

        An upload does not tell who began it. So the uploads of a key are listed first, and the markers of the living and of
        other machines after that: whoever had begun one of these uploads, its marker is older. Where one of them marks the same
        key, nothing is aborted, and the dead one's marker waits for a later sweep.
        """
        with storage_faults(self.url, f"sweep {TEMPORARY}"):
            marked = {marker: self._marked_by(marker) for marker in dead}
            unfinished = {path: self._uploads(path) for path in set(marked.values()) if path is not None}
            busy = {path for marker in others() if (path := self._marked_by(marker)) is not None}
            for marker, path in marked.items():
                if path in busy:
                    continue
                for upload in unfinished[path] if path is not None else ():
                    self._abort(upload)
                self._unmark(marker)

    # -- markers

    def _mark(self, path: str, action: str) -> str:
        """Say that this process is about to upload ``path``, and return where that stands."""
        marker = f"{TEMPORARY}/{temporary_name()}"
        with storage_faults(self.url, action):
            obstore.put(self.store, marker, msgspec.json.encode(Marker(path)))
        reached(Failpoint.UPLOAD_MARKED)
        return marker

    def _marked_by(self, marker: str) -> str | None:
        """Return the path that a marker is about; None where its upload has ended meanwhile, or it is no marker."""
        try:
            return msgspec.json.decode(bytes(obstore.get(self.store, marker).bytes()), type=Marker).path
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _unmark(self, marker: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self.store, marker)

    # -- uploads

    def _target(self, path: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{path}" if self.prefix else path}

    def _uploads(self, path: str) -> list[dict[str, str]]:
        """Return the unfinished uploads of one key, as S3 wants to hear of them."""
        target = self._target(path)
        uploads: list[dict[str, str]] = []
        place: dict[str, object] = {}
        while True:
            page = self.client.list_multipart_uploads(Bucket=target["Bucket"], Prefix=target["Key"], **place)
            found = cast("list[Mapping[str, object]]", page.get("Uploads", []))
            uploads += [target | {"UploadId": str(each["UploadId"])} for each in found if each["Key"] == target["Key"]]
            if not page.get("IsTruncated"):
                return uploads
            place = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _abort(self, upload: Mapping[str, str]) -> None:
        try:
            self.client.abort_multipart_upload(**upload)
        except Exception as error:
            if s3_code(error) != _NO_UPLOAD:  # it has ended meanwhile
                raise

    def _send(self, target: Mapping[str, str], chunks: Iterator[bytes], action: str, condition: Mapping[str, str]) -> int:
        """Send the parts and complete the upload under ``condition``; return the bytes."""
        size = 0
        with ThreadPoolExecutor(PARTS_IN_FLIGHT, thread_name_prefix="s3-part") as pool:
            parts = _Parts(self, target, pool, action)
            for part in _of_size(chunks, SINGLE_PUT_BYTES):  # outside of storage_faults: what it raises passes through
                parts.send(part)
                size += len(part)
            etags = parts.finish()
        reached(Failpoint.UPLOAD_SENT)
        with storage_faults(self.url, action):
            self.client.complete_multipart_upload(**target, MultipartUpload={"Parts": etags}, **condition)
        return size


class _Parts:
    """The parts of one upload, a few of them on their way at once."""

    def __init__(self, upload: MultipartPut, target: Mapping[str, str], pool: ThreadPoolExecutor, action: str) -> None:
        self._upload = upload
        self._target = target
        self._pool = pool
        self._action = action
        self._flying: deque[Future[str]] = deque()
        self._etags: list[str] = []

    def _put(self, number: int, part: bytes) -> str:
        with storage_faults(self._upload.url, self._action):
            answer = self._upload.client.upload_part(**self._target, PartNumber=number, Body=part)
            reached(Failpoint.PART_STORED)
            return str(answer["ETag"])

    def send(self, part: bytes) -> None:
        """Start a part, and wait for the oldest while too many are on their way."""
        number = len(self._etags) + len(self._flying) + 1
        self._flying.append(self._pool.submit(self._put, number, part))
        if len(self._flying) >= PARTS_IN_FLIGHT:
            self._etags.append(self._flying.popleft().result())

    def finish(self) -> list[dict[str, object]]:
        """Wait for all parts and return what S3 wants to hear about them."""
        while self._flying:
            self._etags.append(self._flying.popleft().result())
        return [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(self._etags, start=1)]


def _of_size(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Regroup ``chunks`` into pieces of exactly ``size`` bytes; the last may be shorter."""
    held: list[bytes] = []
    length = 0
    for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        if length < size:
            continue
        joined = b"".join(held)
        whole = length - length % size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        held, length = [joined[whole:]], length - whole
    if length:
        yield b"".join(held)
