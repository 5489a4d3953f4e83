"""What the Dagster tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.dagster.dev import plain_environment


@pytest.fixture(autouse=True)
def _plain_environment() -> Iterator[None]:
    """Hide what the developer's environment says of Dagster and of the archive."""
    kept = plain_environment()
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - kept.keys():
            patch.delenv(name)
        yield
