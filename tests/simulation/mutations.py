"""Ways to break the archive: each is a mistake that somebody could make, and that an invariant has to notice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import pyarrow as pa

from assets.recordings import names
from assets.recordings.copying import Copier, Made
from assets.recordings.errand import Errand
from assets.recordings.events import Copy, Event
from assets.recordings.ledger import Ledger, history, winning
from assets.recordings.ledger.chain import EventFile
from assets.recordings.ledger.history import History
from assets.recordings.ledger.reading import Reader
from assets.recordings.ledger.snapshot import Snapshot
from assets.recordings.lifecycle import TERMINAL_STATES, Fact, Life, Outcome, Policy, State, transition
from resources.arrow import compute as pc
from resources.errors import AbsentError, Subject, TransientError
from resources.model import RecordingKey
from resources.providers import links
from resources.providers.ratelimit import RateLimiter
from resources.settings import Settings
from resources.storage.faults import storage_faults
from resources.storage.local import LocalStorage, _Temporary
from resources.transfer import media, resumption
from resources.transfer.resumption import Asked, Offer, Row
from resources.transfer.signature import WAV, Container
from resources.transfer.stream import Source, Stream


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mistake.

    Attributes:
        name: what is done wrong.
        words: a pattern of what the violated invariant says.
        applied: makes the mistake while its block runs.
        first: the world to begin with; one of a hundred shows a rare mistake, and was met about there.
    """

    name: str
    words: str
    applied: Callable[[], AbstractContextManager[Any]]
    first: int = 0


def _patched(target: object, name: str, value: object) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: mock.patch.object(target, name, value)


# -- the disk


def _settle_without_sync(self: LocalStorage, _temporary: _Temporary, target: Path) -> None:
    self._make_folders(target.parent)


def _publish_without_folder_sync(self: LocalStorage, path: str, temporary: _Temporary) -> None:
    target = self._place(path)
    with storage_faults(self.url, f"create {path}"):
        self._settle(temporary, target)
        self._disk.link(temporary.path, target)


def _make_folders_that_are_missing(self: LocalStorage, folder: Path) -> None:
    if not self._disk.is_folder(folder):
        self._disk.make_folder(folder)


def _create_in_place(self: LocalStorage, path: str, chunks: Iterator[bytes]) -> int:
    """Write to the final name at once."""
    target = self._place(path)
    self._refuse_stored(path)
    written = 0
    with storage_faults(self.url, f"create {path}"):
        self._make_folders(target.parent)
        file = self._disk.claim(target)
        assert file is not None
        for chunk in chunks:
            file.write(memoryview(chunk))
            written += len(chunk)
        file.sync()
        self._disk.sync_folder(target.parent)
    return written


# -- the transfer


def _end_is_the_end(self: Stream) -> None:
    """Take whatever has come for the whole."""
    self._whole = True


_judge = resumption.judge


def _trusting(asked: Asked, offer: Offer) -> Row:
    """Take a 200 on a range for the rest."""
    row = _judge(asked, offer)
    return replace(row, verdict=resumption.Verdict.GO_ON) if row.name == "200" else row


@contextmanager
def _trust_200() -> Generator[None]:
    def span(offer: Offer) -> resumption.Span | None:
        known = real(offer)
        return known or resumption.Span(0, int(offer.headers["content-length"]) - 1, None)

    real = Offer.span.fget
    assert real is not None
    go_on = Stream._go_on

    def go_on_from_anywhere(self: Stream, source: Source, fault: TransientError) -> None:
        go_on(self, source, fault)
        if self._exchange.status == 200:
            self._overlap, self._answer_end, self.length = b"", None, None

    with (
        mock.patch("resources.transfer.stream.judge", _trusting),
        mock.patch.object(Offer, "span", property(span)),
        mock.patch.object(Stream, "_go_on", go_on_from_anywhere),
    ):
        yield


def _admit_without_comparing(self: Stream, data: bytes) -> bytes:
    skipped, self._overlap = min(len(data), len(self._overlap)), self._overlap[len(data) :]
    data = data[skipped:]
    self._tail.add(data)
    self.position += len(data)
    return data


def _anything_is_media(_: bytes) -> Container:
    return WAV


# -- the order of things

_make = Copier.make


def _say_first(self: Copier, errand: Errand) -> Made:
    """Tell the ledger before the copy is there."""
    link = self._ask_for_link(errand.key)
    subject = Subject(errand.key.provider, errand.key.execution_id)
    with self.archive.media.fetch(subject, link) as body:
        chunks = list(body.chunks())
        facts, extension = body.facts, body.detected.extension
    path = names.recording_path(errand.key.provider, errand.day, errand.key.execution_id, errand.key.leg, extension)
    told = Event(
        key=errand.key,
        day=errand.day,
        event_id=uuid4().hex,
        seq=1,
        at=self.archive.runtime.now(),
        run_id=errand.run_id,
        outcome=Outcome.ARCHIVED,
        life=Life(State.ARCHIVED, attempts=errand.attempts + 1),
        copy=Copy(path, facts.bytes, facts.sha256, facts.content_type, ""),
    )
    Ledger(self.archive.storage).append([told], self.archive.runtime.now())
    self.archive.storage.create_from(path, iter(chunks))
    return _make(self, errand)


@contextmanager
def _archive_twice() -> Generator[None]:
    def twice(self: Copier, errand: Errand) -> Made:
        made = _make(self, errand)
        path = made.copy.path
        self.archive.storage.create(f"{path.rpartition('.')[0]}.again", self.archive.storage.read(path))
        return made

    with mock.patch.object(Copier, "make", twice):
        yield


# -- the ledger


def _open_first(self: Event) -> tuple[object, ...]:
    return (not self.life.terminal, self.seq, self.at, self.event_id)


@contextmanager
def _open_wins() -> Generator[None]:
    """Let an open event beat those that ended, wherever winners are chosen."""
    order = ["open", "seq", "at", "event_id"]

    def ranked(table: pa.Table) -> pa.Table:
        return _ranked(table).append_column("open", pc.invert(pc.is_in(table["state"], value_set=_TERMINAL)))

    with (
        mock.patch.object(Event, "order", property(_open_first)),
        mock.patch.object(winning, "_ORDER", order),
        mock.patch.object(winning, "_ranked", ranked),
    ):
        yield


_ranked = winning._ranked
_TERMINAL = pa.array(sorted(state.value for state in TERMINAL_STATES))


def _forgetful(life: Life | None, fact: Fact, now: datetime, policy: Policy, key: RecordingKey) -> Life:
    after = transition(life, fact, now, policy, key)
    return replace(after, attempts=0) if after.state is State.NOT_READY else after


_tail = Reader.tail


def _tail_by_time(self: Reader, provider: str, taken: Snapshot | None) -> list[str]:
    """Take every file whose name is older than the newest that was folded for folded."""
    times = [path.partition("_2")[2] for path in taken.folded] if taken is not None else []
    return [path for path in _tail(self, provider, taken) if path.partition("_2")[2] > max(times, default="")]


_encode = history.encode


def _encode_without_the_last(path: str, former: Sequence[History], files: Sequence[EventFile]) -> tuple[bytes, int]:
    """Compact all event files but one, which is removed with the others later."""
    return _encode(path, former, files[:-1])


# -- the providers


@contextmanager
def _without_limits() -> Generator[None]:
    with mock.patch.object(RateLimiter, "_reserve", return_value=0.0), _each_for_itself():
        yield


@contextmanager
def _each_for_itself() -> Generator[None]:
    """Let each process count for itself alone."""
    with mock.patch("resources.archive.Archive.client_runtime", property(lambda archive: archive.runtime)):
        yield


@contextmanager
def _impatient() -> Generator[None]:
    """Believe the first "there is none"."""
    from_settings = Policy.from_settings

    def impatient(settings: Settings) -> Policy:
        return replace(from_settings(settings), absent_grace=0.0, absent_answers=1)

    graceless = mock.patch("resources.providers.asteroid.AsteroidClient._why_none", _why_none_at_once)
    with mock.patch.object(Policy, "from_settings", impatient), graceless:
        yield


@contextmanager
def _hasty() -> Generator[None]:
    """Give up after a few tries, whatever the settings say."""
    from_settings = Policy.from_settings

    def hasty(settings: Settings) -> Policy:
        return replace(from_settings(settings), attempt_limit=3)

    with mock.patch.object(Policy, "from_settings", hasty):
        yield


@contextmanager
def _without_manifests() -> Generator[None]:
    with (
        mock.patch("assets.recordings.archiving.publish_manifest", return_value=0),
        mock.patch("assets.recordings.compaction.publish_manifests", return_value=None),
    ):
        yield


@contextmanager
def _bare_errors() -> Generator[None]:
    """Let an error of the disk through as it is."""
    with mock.patch("resources.storage.local.storage_faults", return_value=nullcontext()):
        yield


def _why_none_at_once(_self: object, _execution_id: str, subject: Subject) -> Exception:
    return AbsentError(subject, "no recording", http_status=404)


def _by_their_clock(_reply: object, moment: datetime | None, _now: datetime) -> datetime | None:
    return moment


@contextmanager
def _link_by_their_clock() -> Generator[None]:
    with (
        mock.patch.object(links, "by_our_clock", _by_their_clock),
        mock.patch("resources.providers.feather.by_our_clock", _by_their_clock),
        mock.patch("resources.providers.kataven.by_our_clock", _by_their_clock),
    ):
        yield


def _talkative(text: str) -> str:
    return f"{text} https://media.example/main?X-Amz-Signature=0123456789abcdef"


_LOST = "gone or changed|there is nothing|is damaged|was removed"
_WRONG = "no recording of this world|is not what was sent"

MUTATIONS = (
    Mutation("no fsync before the name", f"{_LOST}|{_WRONG}", _patched(LocalStorage, "_settle", _settle_without_sync)),
    Mutation(
        "no fsync of the folder",
        f"{_LOST}|sidecar is missing|it is not there",
        _patched(LocalStorage, "_publish", _publish_without_folder_sync),
    ),
    Mutation("no fsync of a new folder's name", _LOST, _patched(LocalStorage, "_make_folders", _make_folders_that_are_missing)),
    Mutation("publish before verifying", _WRONG, _patched(LocalStorage, "create_from", _create_in_place)),
    Mutation("any end is the end", _WRONG, _patched(Stream, "_at_end_of_answer", _end_is_the_end)),
    Mutation("trust a 200 on resume", _WRONG, _trust_200),
    Mutation("skip an overlap", _WRONG, _patched(Stream, "_admit", _admit_without_comparing)),
    Mutation("store error pages", _WRONG, _patched(media, "detect", _anything_is_media)),
    Mutation("event before publication", "there is nothing|sidecar is missing", _patched(Copier, "make", _say_first)),
    Mutation("a second object", "archived twice", _archive_twice),
    Mutation("an open event beats an ended one", "for good|lost attempts|could be had", _open_wins),
    Mutation("attempts forgotten", "lost attempts", lambda: mock.patch("assets.recordings.archiving.transition", _forgetful)),
    Mutation("folded by time", "does not say", _patched(Reader, "tail", _tail_by_time), first=330),
    Mutation("an event file left out of its compaction", _LOST, _patched(history, "encode", _encode_without_the_last)),
    Mutation("no limits", "and allows", _without_limits),
    Mutation("each run counts for itself", "and allows", _each_for_itself),
    Mutation("the first 404 is believed", "could be had|right end", _impatient),
    Mutation("a link's end by the provider's clock", "could be had", _link_by_their_clock),
    Mutation("dead letters too early", "is a dead letter after", _hasty),
    Mutation("no manifests", "the manifest is missing", _without_manifests),
    Mutation("no sweep", "temporary files are left", lambda: mock.patch.object(LocalStorage, "sweep", return_value=0)),
    Mutation("bare storage errors", "failed as no run should", _bare_errors),
    Mutation("a signature in a detail", "a secret is", lambda: mock.patch("assets.recordings.archiving.redact", _talkative)),
)
