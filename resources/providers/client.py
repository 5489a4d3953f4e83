"""What the live clients of all providers share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from resources.errors import BlockedError, RecordingError, TransientError, UnexpectedAnswerError
from resources.patience import Patience
from resources.providers.api import ApiClient
from resources.providers.protocol import Runtime
from resources.settings import Settings

_Page = TypeVar("_Page")


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

    def _next_page(self, ask: Callable[[], _Page], *, begun: bool) -> _Page:
        """Ask for one page of a list, with patience.

        Once a walk has ``begun``, its first page has proved address and key right. What says otherwise then (an error page with
        status 200, half a body, a single 403) may pass, and a walk of many pages, which would begin again from the first one, is
        not worth giving up for it before that was tried.

        Raises:
            RecordingError: the last one, when the patience is over; before the walk has begun, what cannot heal at once.
        """
        if not begun:
            return self._patience.call(ask)
        try:
            return self._patience.call(lambda: _once_more(ask))
        except TransientError as error:
            if isinstance(error.__cause__, RecordingError):
                raise error.__cause__ from None
            raise


def _once_more(ask: Callable[[], _Page]) -> _Page:
    """Ask, and let what is usually final be transient; it stays the cause."""
    try:
        return ask()
    except (BlockedError, UnexpectedAnswerError) as error:
        raise TransientError(error.subject, error.detail, http_status=error.http_status) from error
