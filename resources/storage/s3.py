"""S3: one set of credentials for its two clients, and the upload of a large object.

Credentials, region and endpoint come from where every AWS tool looks: ``AWS_*`` variables, ``AWS_PROFILE``, ``~/.aws``, the
container's or instance's role. botocore finds them once, and s3fs, obstore and the uploader here are told the result, so that
they cannot disagree.

A large object is a multipart upload whose *completion* carries ``If-None-Match: *``
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html): bounded memory, nothing visible before the
end, and no second winner. obstore cannot do that, and s3fs does it at three times the CPU time for each byte (measured).

How hard the last promise is depends on the server. AWS lets one of two completions win. SeaweedFS 4.48 looks and then completes,
without a lock: two that finish within the same milliseconds may both be told that they won (22 of 40 provoked races; a
conditional PUT: 0 of 150). The object is then whole, and the later one's.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

import botocore.config
import botocore.exceptions
import botocore.session
from obstore.store import S3Store

from resources.errors import SettingsError
from resources.redaction import remember_secret
from resources.storage.faults import storage_faults
from resources.storage.object_store import PARTS_IN_FLIGHT, RETRIES, SINGLE_PUT_BYTES

if TYPE_CHECKING:  # obstore has these in its stubs only
    from obstore.store import ClientConfig, S3Config, S3Credential

DEFAULT_REGION = "us-east-1"
_CREDENTIAL_MINUTES = 10  # how long obstore uses an answer before it asks botocore again, which refreshes in time by itself
_CONNECTIONS = 32
_IF_FREE = "*"


class _Frozen(Protocol):
    access_key: str
    secret_key: str
    token: str | None


class _Credentials(Protocol):
    def get_frozen_credentials(self) -> _Frozen: ...


class _Meta(Protocol):
    endpoint_url: str
    region_name: str


class S3Client(Protocol):
    """The part of botocore's S3 client that the upload uses; botocore brings no types of its own."""

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


class _Session(Protocol):
    def get_credentials(self) -> _Credentials | None: ...

    def get_config_variable(self, name: str) -> object: ...

    def create_client(self, service_name: str, region_name: str | None, *, config: object) -> S3Client: ...


@dataclass(frozen=True, slots=True)
class S3Access:
    """How this machine reaches S3.

    Attributes:
        region: for the signature.
        endpoint: another service than AWS, asked with the bucket in the path; None for AWS.
        authorities: PEM text of the certificate authorities to trust besides the usual (``AWS_CA_BUNDLE``), or None.
    """

    credentials: _Credentials
    client: S3Client
    region: str
    endpoint: str | None
    authorities: bytes | None

    def store(self, bucket: str, prefix: str) -> S3Store:
        """Return obstore's store for a prefix of a bucket."""
        config: S3Config = {"region": self.region, "virtual_hosted_style_request": self.endpoint is None}
        options: ClientConfig = {}
        if self.endpoint is not None:
            # Not "endpoint": obstore lets the variable AWS_ENDPOINT_URL_S3 win over that one.
            config["aws_endpoint_url_s3"] = self.endpoint
            options["allow_http"] = self.endpoint.startswith("http://")
        if self.authorities is not None:
            options["root_certificate"] = self.authorities
        return S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options=options,
            retry_config={"max_retries": RETRIES},
            credential_provider=self._credential,
        )

    def _credential(self) -> S3Credential:
        frozen = self.credentials.get_frozen_credentials()
        for secret in (frozen.secret_key, frozen.token):  # from a profile or a role: no variable of the environment holds them
            remember_secret(secret)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(tz=UTC) + timedelta(minutes=_CREDENTIAL_MINUTES),
        }

    def filesystem_options(self) -> dict[str, object]:
        """Return the arguments that make s3fs reach the same service."""
        options: dict[str, object] = {"client_kwargs": {"region_name": self.region}}
        if self.endpoint is not None:
            options["endpoint_url"] = self.endpoint
            options["config_kwargs"] = _dialect(self.endpoint)
        return options


def _dialect(endpoint: str | None) -> dict[str, object]:
    """Return botocore's settings for AWS (None) or for another service."""
    if endpoint is None:
        return {}
    return {
        "s3": {"addressing_style": "path"},
        # Services other than AWS stumble over the checksum trailers that botocore adds by default.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def find_access() -> S3Access:
    """Find credentials, region and endpoint in the standard places.

    Raises:
        SettingsError: there are no credentials, or the profile or endpoint is wrong.
    """
    session = cast("_Session", botocore.session.get_session())
    try:
        credentials = session.get_credentials()
        region = str(session.get_config_variable("region") or DEFAULT_REGION)
        plain = session.create_client("s3", region, config=_config(None))
        endpoint = None if _is_aws(plain.meta.endpoint_url) else plain.meta.endpoint_url
        client = plain if endpoint is None else session.create_client("s3", region, config=_config(endpoint))
        bundle = session.get_config_variable("ca_bundle")
        authorities = Path(str(bundle)).read_bytes() if bundle else None
    except (botocore.exceptions.BotoCoreError, ValueError, OSError) as error:
        remedy = "Check AWS_PROFILE, AWS_ENDPOINT_URL and ~/.aws."
        msg = f"ARCHIVE_ROOT is on S3, but the AWS settings cannot be used: {error}. {remedy}"
        raise SettingsError(msg) from None
    if credentials is None:
        msg = (
            "ARCHIVE_ROOT is on S3, but there are no AWS credentials. "
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
        raise SettingsError(msg)
    return S3Access(credentials, client, region, endpoint, authorities)


def _config(endpoint: str | None) -> object:
    return botocore.config.Config(max_pool_connections=_CONNECTIONS, **_dialect(endpoint))


@dataclass(frozen=True, slots=True)
class MultipartCreate:
    """A large create for S3."""

    url: str
    client: S3Client
    bucket: str
    prefix: str

    def create_large(self, path: str, chunks: Iterator[bytes]) -> int:
        """Stream ``chunks`` to ``path``."""
        target = {"Bucket": self.bucket, "Key": f"{self.prefix}/{path}" if self.prefix else path}
        action = f"create {path}"
        with storage_faults(self.url, action):
            target["UploadId"] = str(self.client.create_multipart_upload(**target)["UploadId"])
        size = 0
        try:
            with ThreadPoolExecutor(PARTS_IN_FLIGHT, thread_name_prefix="s3-part") as pool:
                parts = _Parts(self, target, pool, action)
                for part in _of_size(chunks, SINGLE_PUT_BYTES):  # outside of storage_faults: what it raises passes through
                    parts.send(part)
                    size += len(part)
                etags = parts.finish()
            with storage_faults(self.url, action):
                self.client.complete_multipart_upload(**target, MultipartUpload={"Parts": etags}, IfNoneMatch=_IF_FREE)
        except BaseException:
            # The pool has ended: a part that arrived after the abort would stay, and be paid for.
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self.client.abort_multipart_upload(**target)
            raise
        return size


class _Parts:
    """The parts of one upload, a few of them on their way at once."""

    def __init__(self, upload: MultipartCreate, target: Mapping[str, str], pool: ThreadPoolExecutor, action: str) -> None:
        self._upload = upload
        self._target = target
        self._pool = pool
        self._action = action
        self._flying: deque[Future[str]] = deque()
        self._etags: list[str] = []

    def _put(self, number: int, part: bytes) -> str:
        with storage_faults(self._upload.url, self._action):
            answer = self._upload.client.upload_part(**self._target, PartNumber=number, Body=part)
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
