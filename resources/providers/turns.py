"""Turns that all runs share: a provider's limits hold for an account, not for a process.

A process takes turns from the archive root in small blocks: a block is so many requests, until a moment. Each block is a new file
with the next number, which the storage refuses to a second writer, and holds what is still counted of the blocks before it; so
two processes never take the same turns. A block counts in full until it ends, and then for as long as the window is; its owner
gives back what it did not use. What a killed process did not use is counted as used.

Times are those of the machines' clocks. Clocks that disagree by more than a block lets the provider's own limiter, and its 429,
decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from uuid import uuid4

import msgspec

from resources.errors import AlreadyStoredError, NotStoredError, RateLimitedError, StorageError, Subject
from resources.providers.protocol import Runtime
from resources.storage import ArchiveStorage

FOLDER = "lake/turns"
_SHARE = 4
"""A block is this part of the tightest limit, and lasts this part of the shortest window."""
_KEPT = 20
_TRIES = 50


class _Block(msgspec.Struct, frozen=True):
    """Requests that a process may make, or has made.

    Attributes:
        id: of the block.
        count: of requests.
        ends: seconds since 1970 after which none of them is made any more.
    """

    id: str
    count: int
    ends: float


class _Book(msgspec.Struct, frozen=True):
    """What one file says: every block that still counts."""

    blocks: tuple[_Block, ...] = ()


_Change = Callable[[tuple[_Block, ...], float], tuple[_Block, ...] | None]
"""From the blocks that count, and now, to those to write; None writes nothing."""


@dataclass(slots=True)
class StoredTurns:
    """One process's way to the turns of one provider. Safe to use from several threads.

    Attributes:
        storage: the archive root.
        provider: whose turns.
        rates: at most so many requests in so many seconds, each.
        runtime: clock and sleep.
        patience: seconds that a caller waits for a turn at most.
    """

    storage: ArchiveStorage
    provider: str
    rates: Sequence[tuple[int, float]]
    runtime: Runtime
    patience: float
    _own: _Block | None = None
    _used: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, subject: Subject) -> None:
        """Return when the caller may ask the provider once, now.

        Raises:
            RateLimitedError: there is no turn within the patience; nothing was taken.
            StorageError: the root cannot be asked.
        """
        with self._lock:
            waited = 0.0
            while not self._has_turn():
                wait = self._reserve()
                if waited + wait > self.patience:
                    detail = f"not asked: the rate limit that all runs share leaves no turn for {wait:.0f} s"
                    raise RateLimitedError(subject, detail, retry_after=wait)
                if wait > 0:
                    self.runtime.sleep(wait)
                    waited += wait
            self._used += 1

    def release(self) -> None:
        """Give back what was not used; where the root fails, it stays counted until its window ends."""
        with self._lock:
            if self._own is not None and self._used < self._own.count:
                with suppress(StorageError):
                    self._append(lambda blocks, _: blocks)
            self._own = None

    def _has_turn(self) -> bool:
        own = self._own
        return own is not None and self._used < own.count and self._now() < own.ends

    def _now(self) -> float:
        return self.runtime.now().astimezone(UTC).timestamp()

    def _reserve(self) -> float:
        """Take a block; return 0, or the seconds after which there may be one."""
        wait = 0.0
        taken: _Block | None = None

        def with_block(blocks: tuple[_Block, ...], now: float) -> tuple[_Block, ...] | None:
            nonlocal wait, taken
            wait = max(self._wait(blocks, now, limit, seconds) for limit, seconds in self.rates)
            if wait > 0:
                return None
            free = min(limit - self._counted(blocks, now, seconds) for limit, seconds in self.rates)
            count = min(free, max(1, min(limit for limit, _ in self.rates) // _SHARE))
            taken = _Block(uuid4().hex, count, self._latest_end(now))
            return (*blocks, taken)

        self._append(with_block)
        if taken is not None:
            self._own, self._used = taken, 0
        return wait

    def _latest_end(self, now: float) -> float:
        """Return when a block that begins now ends."""
        return now + min(seconds for _, seconds in self.rates) / _SHARE

    @staticmethod
    def _counted(blocks: tuple[_Block, ...], now: float, seconds: float) -> int:
        return sum(block.count for block in blocks if block.ends > now - seconds)

    def _wait(self, blocks: tuple[_Block, ...], now: float, limit: int, seconds: float) -> float:
        """Return after how many seconds a window has room for one more."""
        counted = self._counted(blocks, now, seconds)
        for block in sorted(blocks, key=lambda each: each.ends):
            if counted < limit:
                break
            if block.ends > now - seconds:
                counted -= block.count
                wait = block.ends + seconds - now
                if counted < limit:
                    return wait
        return 0.0

    # -- the file

    def _append(self, change: _Change) -> None:
        """Write the next file, if ``change`` makes anything of what the latest one says."""
        for _ in range(_TRIES):
            number, blocks = self._latest()
            now = self._now()
            current = self._current(blocks, now)
            changed = change(current, now)
            if changed is None:
                if max((block.ends for block in blocks), default=now) <= self._latest_end(now):
                    return
                changed = current  # what a clock that was ahead wrote would be taken for now each time, and never end
            try:
                self.storage.create(self._path(number + 1), msgspec.json.encode(_Book(changed)))
            except AlreadyStoredError:
                continue
            if self._latest()[0] - number > _KEPT:
                self.storage.delete(self._path(number + 1))  # so slow that its number had been taken and cleared away
                continue
            if number > _KEPT:
                self.storage.delete(self._path(number - _KEPT))
            return
        msg = f"{self.storage.url}: {_TRIES} other writers were faster at {self._path(0)}: run again"
        raise StorageError(msg)

    def _current(self, blocks: tuple[_Block, ...], now: float) -> tuple[_Block, ...]:
        """Return the blocks that still count, with what this process knows of its own."""
        longest = max(seconds for _, seconds in self.rates)
        latest = self._latest_end(now)
        kept: list[_Block] = []
        for block in blocks:
            ends = min(block.ends, latest)  # a later end was written by a clock that was ahead
            count = block.count
            if self._own is not None and block.id == self._own.id:
                ends, count = min(ends, now), self._used
            if ends > now - longest and count:
                kept.append(_Block(block.id, count, ends))
        return tuple(kept)

    def _latest(self) -> tuple[int, tuple[_Block, ...]]:
        """Return the number of the latest file, 0 where there is none, and what it says."""
        for _ in range(_TRIES):
            paths = [info.path for info in self.storage.list(f"{FOLDER}/provider={self.provider}")]
            if not paths:
                return 0, ()
            path = max(paths)
            try:
                book = msgspec.json.decode(self.storage.read(path), type=_Book)
            except NotStoredError:
                continue
            except msgspec.MsgspecError:
                book = _Book()  # nobody but us writes here: then the provider's own 429 is the limit
            return int(path.rpartition("/")[2].partition(".")[0]), book.blocks
        msg = f"{self.storage.url}: {FOLDER} changes faster than it can be read: run again"
        raise StorageError(msg)

    def _path(self, number: int) -> str:
        return f"{FOLDER}/provider={self.provider}/{number:012d}.json"
