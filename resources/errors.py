"""Every error that the archive raises on purpose.

::

    ArchiveError
    ├── SettingsError                the operator has to change a setting
    ├── InventoryError               a session inventory file cannot be read
    ├── StorageError                 the archive root refused or failed
    │   ├── NotStoredError           there is no object at the path
    │   ├── DamagedError             an object of ours is not what was written
    │   └── AlreadyStoredError       the object is there already: it was not written again
    └── RecordingError               one question about one execution or recording went wrong
        ├── NotReadyError            ask again later: a state, not a fault
        ├── TransientError           a fault that seconds may heal: tried again inside the run
        │   ├── RateLimitedError     HTTP 429, with the provider's Retry-After
        │   ├── LinkExpiredError     the presigned URL lapsed: ask for a fresh one, spend no attempt
        │   ├── TruncatedError       the body ended before its length
        │   └── NotContinuedError    the body broke, and what was offered to go on with cannot be trusted: start from zero
        └── TerminalError            asking again the same way will not help
            ├── AbsentError          the provider says that there is no recording
            ├── PurgedError          the provider says that its retention purge removed it
            ├── BlockedError         the operator's fault: key, account, permission, base URL
            ├── NotMediaError        what came is not a recording (an error page, a wrong type, too small)
            ├── RefusedError         an address, host or scheme that the settings do not allow
            └── UnexpectedAnswerError  an answer outside the documented contract

Whether a fault is *not ready*, *transient* or *terminal* is in its type, so no caller parses a message. No message holds a
query string: build them from :func:`resources.redaction.safe_url`.
"""

from __future__ import annotations

from dataclasses import dataclass

from resources.evidence import Evidence


class ArchiveError(Exception):
    """Base of every error that the archive raises on purpose."""


class SettingsError(ArchiveError):
    """A setting is missing or wrong. The message names the setting and the remedy."""


class InventoryError(ArchiveError):
    """A session inventory cannot be read at all. A single bad line is a report, not this error."""


class StorageError(ArchiveError):
    """The archive root cannot be read or written. The message names the root and the remedy."""


class NotStoredError(StorageError):
    """There is no object at the path."""


class DamagedError(StorageError):
    """An object of ours is not what was written. The message names it and the remedy."""


class AlreadyStoredError(StorageError):
    """The object exists already. A recording is written once, so this is an answer and not a loss."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a question was about, for messages and for the ledger."""

    provider: str
    execution_id: str | None = None
    leg: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.provider, self.execution_id, self.leg) if part)


class RecordingError(ArchiveError):
    """A question about one execution or recording went wrong.

    Attributes:
        subject: provider, execution id and leg, as far as they are known.
        detail: what happened, in words, without any query string.
        http_status: the HTTP status, or None when no answer came.
        retry_after: seconds that the other side asked us to wait, or None.
    """

    def __init__(
        self,
        subject: Subject,
        detail: str,
        *,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.subject = subject
        self.detail = detail
        self.http_status = None if http_status is None else int(http_status)
        self.retry_after = retry_after
        super().__init__(subject, detail, http_status)

    def __str__(self) -> str:
        status = f" (HTTP {self.http_status})" if self.http_status is not None else ""
        return f"{self.subject}: {self.detail}{status}"


class NotReadyError(RecordingError):
    """The recording may come later. ``slow`` asks for the long backoff (Kataven's 503 "not configured")."""

    def __init__(
        self,
        subject: Subject,
        detail: str,
        *,
        http_status: int | None = None,
        retry_after: float | None = None,
        slow: bool = False,
    ) -> None:
        super().__init__(subject, detail, http_status=http_status, retry_after=retry_after)
        self.slow = slow


class TransientError(RecordingError):
    """A fault that seconds may heal: a reset connection, a 5xx, a stall.

    ``exhausted`` is True once the patience or the time for it is used up: nothing further out in this run tries again.
    """

    exhausted: bool = False


class RateLimitedError(TransientError):
    """HTTP 429."""


class LinkExpiredError(TransientError):
    """The presigned URL lapsed before or during the transfer."""


class TruncatedError(TransientError):
    """The body ended before its announced length."""


class NotContinuedError(TransientError):
    """The body broke, and its continuation cannot be trusted. The next try starts from zero."""


class TerminalError(RecordingError):
    """Asking again the same way will not help."""


class AbsentError(TerminalError):
    """The provider says that there is no recording.

    ``certain`` is False where the same answer also comes from a wrong base URL (Kataven's 404).
    """

    def __init__(self, subject: Subject, detail: str, *, http_status: int | None = None, certain: bool = True) -> None:
        super().__init__(subject, detail, http_status=http_status)
        self.certain = certain


class PurgedError(TerminalError):
    """The provider's retention purge removed the recording (Asteroid's ``purgedAt``)."""


class BlockedError(TerminalError):
    """The operator's fault: a key, an account, a permission or a base URL. Stops the asking of that provider."""


class NotMediaError(TerminalError):
    """What came is not a recording: an error page, a type that is not allowed, or too small.

    ``evidence`` is its beginning, where any of it came; for the quarantine alone, and in no text of the error.
    """

    evidence: Evidence | None = None


class RefusedError(TerminalError):
    """An address, host or scheme that the settings do not allow."""


class UnexpectedAnswerError(TerminalError):
    """An answer outside the documented contract."""
