"""The servers and clients of the neighbouring test folders."""

from __future__ import annotations

from tests.providers.conftest import case, clock, make, other_server, server

__all__ = ["case", "clock", "make", "other_server", "server"]
