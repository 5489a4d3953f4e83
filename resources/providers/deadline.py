"""A deadline for an answer as a whole, its headers too: httpx only limits the wait for the next byte.

A server that sends a header byte by byte, each in time, would hold a thread for weeks. So every read from the network looks
whether the time of the thread's own question is over.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx


class Deadline(threading.local):
    """Until when the current question of this thread may take; by the clock that it is checked with."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Begin without one."""
        self._monotonic = monotonic
        self._until = math.inf

    @contextmanager
    def of(self, seconds: float) -> Generator[None]:
        """Give this thread's question so many seconds from now."""
        self._until = self._monotonic() + seconds
        try:
            yield
        finally:
            self._until = math.inf

    def check(self) -> None:
        """Raise httpx.ReadTimeout when the time is over."""
        if self._monotonic() > self._until:
            msg = "the answer took too long as a whole"
            raise httpx.ReadTimeout(msg)


class TimedTransport(httpx.HTTPTransport):
    """httpx's own transport, whose reads look at a deadline."""

    def __init__(self, deadline: Deadline, **options: Any) -> None:  # noqa: ANN401 -- httpx's own options
        """Take the options of ``httpx.HTTPTransport``."""
        super().__init__(**options)
        # httpx has no public way to its network backend; a test sees whether this one is used.
        backend: Any = self._pool._network_backend  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownVariableType]
        self._pool._network_backend = _TimedBackend(backend, deadline)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


class _Delegate:
    """Does what another object does, but for what is defined here."""

    def __init__(self, other: Any, deadline: Deadline) -> None:  # noqa: ANN401 -- httpcore's types are not ours to name
        self._other = other
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- as above
        return getattr(self._other, name)


class _TimedBackend(_Delegate):
    def connect_tcp(self, *args: Any, **kwargs: Any) -> _TimedStream:  # noqa: ANN401 -- as above
        return _TimedStream(self._other.connect_tcp(*args, **kwargs), self._deadline)


class _TimedStream(_Delegate):
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._deadline.check()
        return bytes(self._other.read(max_bytes, timeout))

    def start_tls(self, *args: Any, **kwargs: Any) -> _TimedStream:  # noqa: ANN401 -- as above
        return _TimedStream(self._other.start_tls(*args, **kwargs), self._deadline)
