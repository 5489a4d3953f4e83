"""Making one copy: fresh link, verified stream, publication, sidecar. What a run and an audit's repair have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from assets.recordings import adoption, names
from assets.recordings.errand import Errand
from assets.recordings.events import Copy
from assets.recordings.sidecar import Sidecar, write_sidecar
from resources.archive import Archive
from resources.errors import AlreadyStoredError, Subject
from resources.failpoints import Failpoint, reached
from resources.model import Link, RecordingKey
from resources.providers.protocol import Provider


@dataclass(frozen=True, slots=True)
class Made:
    """A copy that is in the archive now.

    Attributes:
        copy: its facts.
        adopted: True when it was found published, and not fetched.
        continuations: how often the transfer broke and went on where it stopped.
    """

    copy: Copy
    adopted: bool = False
    continuations: int = 0


@dataclass(frozen=True, slots=True)
class Copier:
    """Makes copies of one provider's recordings. Safe to use from several threads.

    Attributes:
        archive: where they go.
        provider: whose they are.
        on_link: called before each question for a presigned URL.
    """

    archive: Archive
    provider: Provider
    on_link: Callable[[], None]

    def make(self, errand: Errand) -> Made:
        """Ask for a link and store what it leads to. The body is verified before the last byte is handed to the storage.

        Raises:
            RecordingError: the provider or the media host did not give the recording; nothing is visible.
            StorageError: the root refused it; nothing is visible.
        """
        key, storage = errand.key, self.archive.storage
        link = self._ask_for_link(key)
        subject = Subject(key.provider, key.execution_id, key.leg.value)
        with self.archive.media.fetch(subject, link, refresh=lambda: self._ask_for_link(key)) as body:
            extension = body.detected.extension
            path = names.recording_path(key.provider, errand.day, key.execution_id, key.leg, extension, errand.number)
            try:
                storage.create_from(path, body.chunks())
            except AlreadyStoredError:
                return self.adopt(errand, path)
            reached(Failpoint.RECORDING_PUBLISHED)
            facts = body.facts
        media_seconds = self.archive.playing_time(storage, path, body.detected)
        sidecar = Sidecar(
            provider=key.provider,
            execution_id=key.execution_id,
            leg=key.leg.value,
            date=errand.day,
            path=path,
            bytes=facts.bytes,
            sha256=facts.sha256,
            content_type=facts.content_type,
            declared_type=facts.declared_type,
            etag=facts.etag,
            last_modified=facts.last_modified,
            archived_at=self.archive.runtime.now(),
            run_id=errand.run_id,
            attempts=errand.attempts + 1,
            number=errand.number,
            media_seconds=media_seconds,
            expected_seconds=errand.expected_seconds,
        )
        return Made(write_sidecar(storage, sidecar), continuations=facts.continuations)

    def adopt(self, errand: Errand, path: str) -> Made:
        """Write down the facts of a copy that lies at ``path`` already, where they are not written down yet.

        Raises:
            NotMediaError: it is no recording; somebody else put it there.
            StorageError: the root failed.
        """
        return Made(adoption.adopt(self.archive, errand, path), adopted=True)

    def _ask_for_link(self, key: RecordingKey) -> Link:
        self.on_link()
        reached(Failpoint.LINK_ASKED)
        link = self.provider.link(key.execution_id, key.leg)
        reached(Failpoint.LINK_RECEIVED)
        return link
