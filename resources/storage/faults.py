"""What can go wrong with a root, as one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Generator
from typing import cast

from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, UnauthenticatedError

from resources.errors import AlreadyStoredError, ArchiveError, NotStoredError, StorageError
from resources.redaction import redact

_MAX_REASON = 300
_FULL = "the storage is full; free space there, or move ARCHIVE_ROOT"
_DENIED = "permission denied; give this process read and write access there, or change ARCHIVE_ROOT"
_GONE = "a folder or file was removed meanwhile; was the root unmounted or deleted? Bring it back, then run again"
_APART = (
    "its folders lie on different file systems, or under different folder quotas; "
    "a file gets its name by a link: keep the whole root, .tmp/ included, on one"
)
_UNREACHABLE = "the endpoint cannot be reached; check AWS_ENDPOINT_URL, the network and the service"
_BAD_KEY = "the credentials are not accepted; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)"
_EXPIRED = "the credentials have expired; renew AWS_SESSION_TOKEN or the profile's login"
_NO_BUCKET = "the bucket does not exist; create it, or correct ARCHIVE_ROOT"
_REGION = "the bucket is in another region; set AWS_REGION to it"
_NO_CREDENTIALS = "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"

ERRNO_REASONS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "the file is larger than this process or this file system may write; raise `ulimit -f`, or move ARCHIVE_ROOT",
    errno.ENOENT: _GONE,
    errno.EXDEV: _APART,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "the file system is read-only; mount it writable, or change ARCHIVE_ROOT",
    errno.ENOTDIR: "a part of the path is a file, not a folder; move that file away, or change ARCHIVE_ROOT",
    errno.EISDIR: "there is a folder where an object should be",
    errno.EMFILE: "too many open files; raise `ulimit -n`, or lower MEDIA_CONCURRENCY",
    errno.ECONNREFUSED: _UNREACHABLE,
}
"""What each system error means for the operator."""

CODE_REASONS = {
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AuthorizationHeaderMalformed": _REGION,
    "ConditionalRequestConflict": "another writer is at the same object at this moment; try again",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "Forbidden": _DENIED,
    "InvalidAccessKeyId": _BAD_KEY,
    "InvalidToken": _BAD_KEY,
    "NoSuchBucket": _NO_BUCKET,
    "PermanentRedirect": _REGION,
    "QuotaExceeded": _FULL,
    "SignatureDoesNotMatch": _BAD_KEY,
    "XMinioStorageFull": _FULL,
}
"""What each S3 error code means (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""

_CLASS_REASONS = {
    "ConnectTimeoutError": _UNREACHABLE,
    "ConnectionClosedError": _UNREACHABLE,
    "ConnectionError": _UNREACHABLE,
    "EndpointConnectionError": _UNREACHABLE,
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "ReadTimeoutError": _UNREACHABLE,
}
_TAKEN = "PreconditionFailed"  # the only precondition that the archive ever sets is "If-None-Match: *"
_XML_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_CONNECT = re.compile(r"error sending request|client error \(Connect\)|tcp connect error|dns error|Cannot connect", re.IGNORECASE)
_DENIALS = frozenset({"401", "403"})
_STATUS = re.compile(r"non-2xx status code: (?P<status>\d{3})[ \w]*")
_NO_BUCKET_TEXT = re.compile(r"bucket does not exist|NoSuchBucket", re.IGNORECASE)


def s3_code(error: BaseException) -> str | None:
    """Return the S3 error code that an error of botocore, s3fs or obstore carries, if any."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        details = cast("dict[str, object]", response).get("Error")
        if isinstance(details, dict):
            return str(cast("dict[str, object]", details).get("Code"))
    found = _XML_CODE.search(str(error))
    return found.group(1) if found else None


def reason(error: BaseException) -> str:
    """Say in one line, without secrets, what ``error`` means and what to do."""
    code = s3_code(error)
    if code in CODE_REASONS:
        return CODE_REASONS[code]
    for kind in type(error).__mro__:
        if kind.__name__ in _CLASS_REASONS and not isinstance(error, OSError):
            return _CLASS_REASONS[kind.__name__]
    text = str(error)
    if _NO_BUCKET_TEXT.search(text):
        return _NO_BUCKET
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
        return _DENIED
    if isinstance(error, OSError) and error.errno is not None:
        known = ERRNO_REASONS.get(error.errno)
        if known is not None:
            return known
        text = error.strerror or text
    if _CONNECT.search(text):
        return _UNREACHABLE
    answer = _STATUS.search(text)
    return _DENIED if answer is not None and answer["status"] in _DENIALS else _in_short(error, text)


def _in_short(error: BaseException, text: str) -> str:
    answer = _STATUS.search(text)
    if answer is not None:
        text = text[: answer.end()]  # what follows is the service's body: anybody's words
    first_line = redact(text).strip().partition("\n")[0][:_MAX_REASON]
    return first_line or type(error).__name__


def translated(error: Exception, root: str, action: str, *, reading: bool = False) -> StorageError:
    """Return the StorageError that ``error`` is, for the attempt to ``action`` below ``root``."""
    if reading and isinstance(error, NotADirectoryError | IsADirectoryError):
        return NotStoredError(f"{root}: cannot {action}: it is not there")
    if isinstance(error, FileExistsError | AlreadyExistsError) or s3_code(error) == _TAKEN:
        return AlreadyStoredError(f"{root}: did not {action}: it is stored already")
    if reading and isinstance(error, FileNotFoundError) and not _NO_BUCKET_TEXT.search(str(error)):
        return NotStoredError(f"{root}: cannot {action}: it is not there")
    return StorageError(f"{root}: cannot {action}: {reason(error)}")


@contextlib.contextmanager
def storage_faults(root: str, action: str, *, reading: bool = False) -> Generator[None]:
    """Turn every error of a backend inside the block into a StorageError.

    Args:
        root: the root's URL without secrets.
        action: what is tried, such as ``"read lake/x.parquet"``.
        reading: takes a path through a file, or to a folder, for one where nothing is.

    Raises:
        AlreadyStoredError, NotStoredError, StorageError: instead of the backend's own error.
    """
    try:
        yield
    except ArchiveError:
        raise
    except OSError as error:
        raise translated(error, root, action, reading=reading) from error
    except Exception as error:  # noqa: BLE001 - a driver may raise anything, and all of it is a fault of the root
        # Not chained: what a driver writes into its errors (headers, signed text) is out of our hands.
        raise translated(error, root, action, reading=reading) from None
