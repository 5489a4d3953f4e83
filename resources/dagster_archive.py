"""The archive as a Dagster resource."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import dagster as dg
from pydantic import PrivateAttr

from resources.archive import Archive, open_archive
from resources.settings import load_settings


class ArchiveResource(dg.ConfigurableResource[Archive]):
    """Opens the archive for one run.

    The settings, keys among them, are read from the environment and from ``env_file`` by the process that runs, and never pass
    through Dagster's config, which Dagster stores.
    """

    env_file: str = ".env"
    _on_recording: Callable[[str, str, int], None] | None = PrivateAttr(default=None)

    @contextmanager
    def opened(self) -> Generator[Archive]:
        """Yield the open archive, and close its connections at the end.

        Raises:
            SettingsError: a setting is wrong.
            StorageError: the root cannot be used.
        """
        archive = open_archive(load_settings(self.env_file))
        archive.on_recording = self._on_recording
        try:
            yield archive
        finally:
            archive.close()

    def watched(self, on_recording: Callable[[str, str, int], None]) -> ArchiveResource:
        """Return this resource with a callback for each recording; for progress bars of in-process runs."""
        resource = ArchiveResource(env_file=self.env_file)
        resource._on_recording = on_recording
        return resource
