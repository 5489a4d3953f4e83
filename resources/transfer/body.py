"""One recording as it comes in: its chunks, and the facts that are known after the last of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from resources.errors import NotMediaError, Subject
from resources.evidence import Evidence
from resources.failpoints import Failpoint, reached
from resources.redaction import redact
from resources.transfer.limits import MediaLimits
from resources.transfer.signature import Container
from resources.transfer.stream import Stream

CHUNK_BYTES = 1024 * 1024
_HEADER_CHARACTERS = 200
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What came, known when the last chunk was taken.

    Attributes:
        bytes: how many, joined.
        sha256: lower-case hexadecimal, of the joined body.
        content_type: by the first bytes.
        extension: by the first bytes, without a dot.
        declared_type: the first answer's Content-Type, or None.
        etag: the first answer's ETag as sent, without secrets, or None.
        last_modified: the first answer's Last-Modified, likewise, or None.
        seconds: from the question to the last byte.
        continuations: how often it broke and went on.
        refetched: bytes that came twice because of that; they are not in ``bytes``.
    """

    bytes: int
    sha256: str
    content_type: str
    extension: str
    declared_type: str | None
    etag: str | None
    last_modified: str | None
    seconds: float
    continuations: int = 0
    refetched: int = 0


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known of a recording before its first chunk.

    Attributes:
        subject: whose it is.
        headers: of the first answer, lower-case.
        head: the bytes that were read to find the container.
        detected: the container.
        limits: what it may be.
        evidence: makes what is kept of it if it turns out to be no recording after all.
    """

    subject: Subject
    headers: Mapping[str, str]
    head: bytes
    detected: Container
    limits: MediaLimits
    evidence: Callable[[], Evidence]


class MediaBody:
    """One recording as it comes in. A context manager; leaving it gives the connection back.

    Attributes:
        detected: the container, by the first bytes; known before the first chunk is taken.
        length: the announced bytes, or None where the answer is chunked.
    """

    def __init__(self, opening: Opening, stream: Stream, give_back: Callable[[], None], elapsed: Callable[[], float]) -> None:
        """Go on from an answer that was found good so far.

        Args:
            opening: what is known of it.
            stream: the rest of its bytes.
            give_back: is called once, when the connection is not needed any more.
            elapsed: seconds since the question.
        """
        self._opening = opening
        self._head = opening.head
        self._stream = stream
        self._give_back: Callable[[], None] | None = give_back
        self._elapsed = elapsed
        self._facts: MediaFacts | None = None
        self._taken = False
        self.detected = opening.detected
        self.length = stream.length

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the transfer if it goes on, and give the connection back. Harmless to repeat."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    @property
    def facts(self) -> MediaFacts:
        """What came.

        Raises:
            RuntimeError: the chunks were not taken to their end.
        """
        if self._facts is None:
            msg = "the facts of a body are known after its last chunk"
            raise RuntimeError(msg)
        return self._facts

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces of about 1 MiB, once. Ends normally only if the body is whole and a recording.

        A break within the body is not seen here if it can be continued.

        Raises:
            TruncatedError, TransientError, NotMediaError: the body broke, stalled, or is too small or too large.
            NotContinuedError: it broke, and what was offered for the rest cannot be trusted.
            RecordingError: it broke, and the provider gave this instead of a fresh link.
        """
        if self._taken or self._give_back is None:
            msg = "the chunks of a body can be taken once, while it is open"
            raise RuntimeError(msg)
        self._taken = True
        try:
            yield from self._checked()
        except NotMediaError as error:
            error.evidence = error.evidence or self._opening.evidence()
            raise

    def _checked(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        size = 0
        chunk, self._head = self._head, b""
        while True:
            if len(chunk) < CHUNK_BYTES:
                chunk += self._stream.read(CHUNK_BYTES - len(chunk))
            if not chunk:
                break
            reached(Failpoint.LATER_CHUNK if size else Failpoint.FIRST_CHUNK)
            digest.update(chunk)
            size += len(chunk)
            yield chunk
            if self._give_back is None:
                msg = "the body was closed before its chunks were taken"
                raise RuntimeError(msg)
            chunk = b""
        self._opening.limits.check_minimum(self._opening.subject, size)
        self._facts = MediaFacts(
            bytes=size,
            sha256=digest.hexdigest(),
            content_type=self.detected.content_type,
            extension=self.detected.extension,
            declared_type=self._header("content-type"),
            etag=self._header("etag"),
            last_modified=self._header("last-modified"),
            seconds=self._elapsed(),
            continuations=self._stream.continuations,
            refetched=self._stream.refetched,
        )
        self.close()
        reached(Failpoint.BODY_VERIFIED)

    def _header(self, name: str) -> str | None:
        value = self._opening.headers.get(name)
        # They go into the sidecar, and a host may put its own URL into any of them.
        return redact(_NOT_PRINTABLE.sub(" ", value))[:_HEADER_CHARACTERS] if value else None
