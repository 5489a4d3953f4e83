"""What the Dagster shells of all assets share: turning our errors into failures that a person reads."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg

from resources.errors import ArchiveError, SettingsError
from resources.redaction import redact


@contextmanager
def clear_failures() -> Generator[None]:
    """Raise an archive error as a Dagster failure with one clear, redacted message and no chained exception.

    A wrong setting is not retried: trying again cannot help.
    """
    try:
        yield
    except ArchiveError as error:
        allow_retries = not isinstance(error, SettingsError)
        raise dg.Failure(description=redact(str(error)), allow_retries=allow_retries) from None
