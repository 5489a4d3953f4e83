"""Everything that a run needs to talk to, opened once: settings, storage, providers, media client, clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from resources.clock import REAL_RUNTIME
from resources.errors import SettingsError
from resources.providers.protocol import Provider, ProviderSpec, Runtime, TurnKeeper
from resources.providers.registry import PROVIDERS
from resources.providers.turns import StoredTurns
from resources.settings import Settings, load_settings
from resources.storage import ArchiveStorage, open_storage
from resources.transfer import Container, MediaClient
from resources.transfer.playing_time import playing_times


@dataclass(slots=True)
class Archive:
    """One archive, ready for use from several threads. Providers and the media client are opened when they are first asked for.

    Attributes:
        settings: what the operator chose.
        storage: the archive root.
        runtime: clock and sleep.
        on_recording: called after each recording with (provider, outcome, bytes); for progress bars.
        playing_time: says how many seconds a stored recording plays, or None where that cannot be told; never raises.
    """

    settings: Settings
    storage: ArchiveStorage
    runtime: Runtime = REAL_RUNTIME
    on_recording: Callable[[str, str, int], None] | None = None
    playing_time: Callable[[ArchiveStorage, str, Container], float | None] = playing_times
    _providers: dict[str, Provider] = field(default_factory=dict[str, Provider])
    _media: MediaClient | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def provider(self, name: str) -> Provider:
        """Return the live client of a provider.

        Raises:
            SettingsError: the provider is unknown, is off (no key), or one of its settings is wrong.
        """
        spec = provider_spec(name)
        with self._opening:  # several threads may be the first to ask
            if name not in self._providers:
                client = spec.build(self.settings, self.client_runtime)
                if client is None:
                    msg = (
                        f"{name} is off: {spec.key_setting} is not set. Set it in the environment or in .env (see .env.example)."
                    )
                    raise SettingsError(msg)
                self._providers[name] = client
            return self._providers[name]

    @property
    def client_runtime(self) -> Runtime:
        """The runtime of the providers' clients: with the turns that all runs on this root share."""
        storage, runtime = self.storage, self.runtime

        def turns(provider: str, rates: Sequence[tuple[int, float]], patience: float) -> TurnKeeper:
            return StoredTurns(storage, provider, rates, runtime, patience)

        return replace(runtime, turns=turns)

    @property
    def media(self) -> MediaClient:
        """The client for media bytes; it never sees a provider's key."""
        with self._opening:
            if self._media is None:
                runtime = self.runtime
                self._media = MediaClient.from_settings(
                    self.settings, now=runtime.now, sleep=runtime.sleep, monotonic=runtime.monotonic
                )
            return self._media

    def close(self) -> None:
        """Close all connections."""
        for client in self._providers.values():
            client.close()
        self._providers.clear()
        if self._media is not None:
            self._media.close()
            self._media = None


def provider_spec(name: str) -> ProviderSpec:
    """Return the description of a provider.

    Raises:
        SettingsError: there is no provider of this name; the message lists those that there are.
    """
    if name not in PROVIDERS:
        msg = f"unknown provider {name!r}: one of {', '.join(PROVIDERS)}"
        raise SettingsError(msg)
    return PROVIDERS[name]


def is_on(spec: ProviderSpec, settings: Settings) -> bool:
    """Return whether the provider has a key, without opening it."""
    return getattr(settings, spec.key_setting.lower(), None) is not None


def open_archive(settings: Settings | None = None, runtime: Runtime = REAL_RUNTIME) -> Archive:
    """Open the archive of ``settings`` (default: the environment and ``.env``).

    Raises:
        SettingsError: a setting is wrong.
        StorageError: the root cannot be used.
    """
    settings = settings or load_settings()
    return Archive(settings, open_storage(settings.archive_root), runtime)
