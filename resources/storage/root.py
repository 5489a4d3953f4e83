"""From the setting ARCHIVE_ROOT to a storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec.registry import get_filesystem_class, known_implementations
from obstore.store import AzureStore, GCSStore, ObjectStore

from resources.errors import SettingsError
from resources.redaction import redact, safe_url
from resources.storage.archive import ArchiveStorage, FileSystem
from resources.storage.generic import GenericStorage
from resources.storage.local import LocalStorage
from resources.storage.multipart import MultipartPut
from resources.storage.object_store import RETRIES, CopyWithinStore, ObjectStorage
from resources.storage.s3 import find_access

if TYPE_CHECKING:  # obstore has this in its stubs only
    from obstore.store import RetryConfig

S3_PROTOCOLS = frozenset({"s3", "s3a"})
GCS_PROTOCOLS = frozenset({"gs", "gcs"})
AZURE_PROTOCOLS = frozenset({"az", "abfs", "abfss", "adl"})
LOCAL_PROTOCOLS = frozenset({"file", "local"})
# Read-only, or filesystems inside other files: nothing that an archive could be written to.
NOT_A_ROOT = frozenset({"http", "https", "data", "zip", "tar", "blockcache", "filecache", "simplecache", "cached", "reference"})

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_FRESH: Mapping[str, object] = {"use_listings_cache": False, "skip_instance_cache": True}


_RETRY: RetryConfig = {"max_retries": RETRIES}


class _UrlToFs(Protocol):
    def __call__(self, url: str, **options: object) -> tuple[FileSystem, str]: ...


def _refused(root_url: str, why: str) -> SettingsError:
    return SettingsError(f"ARCHIVE_ROOT {redact(safe_url(root_url) if '://' in root_url else root_url)!r} cannot be used: {why}")


def _require_driver(root_url: str, protocol: str) -> None:
    if protocol in NOT_A_ROOT:
        raise _refused(root_url, f"{protocol}:// cannot be written to. Use a local path, s3://, gs:// or az://.")
    if protocol not in known_implementations and protocol not in fsspec.available_protocols():
        raise _refused(root_url, f"{protocol}:// is not known to fsspec. Use a local path, s3://, gs:// or az://.")
    try:
        get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise _refused(root_url, f"its driver is not installed: {error}.") from None


def _filesystem(root_url: str, **options: object) -> tuple[FileSystem, str]:
    try:
        filesystem, base = cast("_UrlToFs", fsspec.url_to_fs)(root_url, **_FRESH, **options)
    except Exception as error:  # noqa: BLE001 - each driver has its own; all mean that the root cannot be opened as it is written
        raise _refused(root_url, f"{type(error).__name__}: {redact(str(error)).partition(chr(10))[0]}") from None
    return filesystem, base.rstrip("/")


def _bucket_and_prefix(root_url: str) -> tuple[str, str]:
    parts = urlsplit(root_url)
    prefix = unquote(parts.path).strip("/") if "%" in parts.path else parts.path.strip("/")
    # Azure's container@account has no password either.
    if not parts.netloc or parts.query or parts.fragment or parts.password is not None:
        raise _refused(root_url, "it must look like s3://bucket/prefix, without a query or a password.")
    return parts.netloc, prefix


def _open_local(root_url: str) -> ArchiveStorage:
    text = root_url
    if _SCHEME.match(root_url):
        parts = urlsplit(root_url)
        if parts.netloc not in {"", "localhost"}:
            raise _refused(root_url, f"a local path has three slashes: file:///{parts.netloc}{parts.path}")
        text = unquote(parts.path)
    if "\x00" in text or not text.strip():
        raise _refused(root_url, "it is empty or holds a NUL character.")
    root = Path(text).expanduser().absolute()
    filesystem, _ = _filesystem(root.as_uri())
    return LocalStorage(str(root), filesystem, root)


def _open_s3(root_url: str) -> ArchiveStorage:
    bucket, prefix = _bucket_and_prefix(root_url)
    if "@" in bucket:
        raise _refused(
            root_url, "it holds a user name. Credentials come from AWS_ACCESS_KEY_ID or AWS_PROFILE, not from the URL."
        )
    access = find_access()
    base = f"{bucket}/{prefix}" if prefix else bucket
    url = f"s3://{base}"
    filesystem, _ = _filesystem(f"s3://{bucket}", **access.filesystem_options())
    place = f"S3 bucket {bucket}, prefix {prefix or '(none)'}, at {access.endpoint or f'AWS {access.region}'}"
    store = access.store(bucket, prefix)
    large = MultipartPut(url, access.client, bucket, prefix, store)
    return ObjectStorage(url, filesystem, base, store, large, place)


def _open_gcs(root_url: str) -> ArchiveStorage:
    bucket, prefix = _bucket_and_prefix(root_url)
    filesystem, _ = _filesystem(root_url)
    base = f"{bucket}/{prefix}" if prefix else bucket
    store = _store(root_url, lambda: GCSStore(bucket, prefix=prefix or None, retry_config=_RETRY))
    place = f"Google Cloud Storage bucket {bucket}, prefix {prefix or '(none)'}"
    return ObjectStorage(f"gs://{base}", filesystem, base, store, CopyWithinStore(f"gs://{base}", store), place)


def _open_azure(root_url: str) -> ArchiveStorage:
    netloc, prefix = _bucket_and_prefix(root_url)
    container, _, host = netloc.partition("@")
    account = host.partition(".")[0]
    filesystem, _ = _filesystem(root_url)
    base = f"{container}/{prefix}" if prefix else container
    if account:
        store = _store(root_url, lambda: AzureStore(container, prefix=prefix or None, account_name=account, retry_config=_RETRY))
    else:
        store = _store(root_url, lambda: AzureStore(container, prefix=prefix or None, retry_config=_RETRY))
    url = f"az://{base}"
    place = f"Azure container {container}, prefix {prefix or '(none)'}"
    return ObjectStorage(url, filesystem, base, store, CopyWithinStore(url, store), place)


def _store(root_url: str, build: Callable[[], ObjectStore]) -> ObjectStore:
    try:
        return build()
    except Exception as error:  # noqa: BLE001 - obstore raises its own kinds for each service
        raise _refused(root_url, f"{redact(str(error)).partition(chr(10))[0]}") from None


def _open_generic(root_url: str) -> ArchiveStorage:
    filesystem, base = _filesystem(root_url)
    return GenericStorage(safe_url(root_url), filesystem, base)


def open_storage(root_url: str) -> ArchiveStorage:
    """Open the archive's root. Nothing is asked of it yet: :meth:`ArchiveStorage.probe` does that.

    Args:
        root_url: a local path, or any URL that fsspec knows: ``./archive``, ``file:///x``, ``s3://bucket/prefix``, ``gs://``,
            ``az://``, ``memory://``.

    Raises:
        SettingsError: it is not a root that can be written to, or its driver or credentials are missing.
    """
    root_url = root_url.strip()
    if "::" in root_url:
        raise _refused(root_url, "chained URLs ('::') are not supported. Name the storage itself.")
    found = _SCHEME.match(root_url)
    protocol = found.group(1).lower() if found else "file"
    if protocol in LOCAL_PROTOCOLS:
        return _open_local(root_url)
    _require_driver(root_url, protocol)
    if protocol in S3_PROTOCOLS:
        return _open_s3(root_url)
    if protocol in GCS_PROTOCOLS:
        return _open_gcs(root_url)
    if protocol in AZURE_PROTOCOLS:
        return _open_azure(root_url)
    return _open_generic(root_url)
