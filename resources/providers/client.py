"""What the live clients of all providers share."""

from __future__ import annotations

from datetime import timedelta

from resources.patience import Patience
from resources.providers.api import ApiClient
from resources.providers.protocol import Runtime
from resources.settings import Settings


class ApiProvider:
    """A client that asks one API: its address, its end, its patience and its idea of "a short while ago"."""

    def __init__(self, api: ApiClient, settings: Settings, runtime: Runtime) -> None:
        """Take the open API client over; it is closed with this one."""
        self._api = api
        self._now = runtime.now
        self._patience = Patience.from_settings(settings, runtime.sleep)
        self._grace = timedelta(seconds=settings.absent_grace_seconds)

    @property
    def base_url(self) -> str:
        """The base URL, normalised."""
        return self._api.service.base_url

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
