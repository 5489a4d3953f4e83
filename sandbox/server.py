"""Two origins in one process: the APIs at 127.0.0.1, the media at localhost and another port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Scope

from sandbox.control import Control
from sandbox.media_host import MediaHost
from sandbox.options import WorldOptions
from sandbox.routes import PROVIDERS
from sandbox.stage import Stage
from sandbox.world import Clock, World, utc_now

API_HOST = "127.0.0.1"
MEDIA_HOST = "localhost"

_WATCH_SECONDS = 0.2
_SHUTDOWN_SECONDS = 1
_START_SECONDS = 10.0
_BACKLOG = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """TCP ports; 0 means a free one."""

    api: int = 0
    media: int = 0


class Sandbox:
    """A world on two sockets. :meth:`serve` runs it; the rest can be called meanwhile, from any thread."""

    def __init__(
        self,
        options: WorldOptions,
        *,
        inventory: Path,
        faults: Iterable[str] = (),
        clock: Clock = utc_now,
        ports: Ports | None = None,
    ) -> None:
        ports = ports or Ports()
        plans = [service.plan for service in PROVIDERS]
        self._stage = Stage(World(options, plans, clock), plans)
        for fault in faults:
            self._stage.faults.switch_text(fault)
        self._services = [service(self._stage) for service in PROVIDERS]
        self.inventory = inventory
        self._sockets = _listen(ports.api), _listen(ports.media)
        self.api_origin = f"http://{API_HOST}:{self._sockets[0].getsockname()[1]}"
        self.media_origin = f"http://{MEDIA_HOST}:{self._sockets[1].getsockname()[1]}"
        self._stage.media_origin = self.media_origin
        self._stage.hang_up = self._hang_up
        self._write_files()
        self._servers: list[_Server] = []
        self._stopped = False

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that point a client at this sandbox."""
        env: dict[str, str] = {}
        for service in self._services:
            env |= service.environment(self.api_origin + service.base_path, self.inventory)
        return env | {"MEDIA_ALLOWED_HOSTS": MEDIA_HOST, "MEDIA_ALLOW_PRIVATE": "true"}

    @property
    def window(self) -> dict[str, str]:
        """The first and the last day of the world, as ISO dates."""
        return self._stage.world.calendar.window()

    @property
    def world(self) -> World:
        """The world that is served."""
        return self._stage.world

    def truth(self) -> dict[str, object]:
        """Return what an archive should hold in the end."""
        return self._stage.world.truth()

    def requests(self) -> dict[str, object]:
        """Return what was asked so far."""
        return self._stage.tally.shown()

    def secrets(self) -> dict[str, list[str]]:
        """Return every key and every signature issued so far."""
        return self._stage.secrets()

    def set_fault(self, name: str, value: object = None) -> None:
        """Switch a fault on; ``value=False`` switches it off."""
        self._stage.faults.switch(name, value)

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self._stage.faults.clear()

    def reset(self) -> None:
        """Forget all counts; scenarios that count asks begin again."""
        self._stage.tally.reset()

    def ready_facts(self) -> dict[str, object]:
        """Return what the ready file says."""
        return {
            "pid": os.getpid(),
            "api_origin": self.api_origin,
            "media_origin": self.media_origin,
            "env": self.env,
            "window": self.window,
        }

    def run(self, started: threading.Event | None = None) -> None:
        """Serve until :meth:`stop`. ``started`` is set once both origins answer."""
        loop_factory = _config(MediaHost(self._stage)).get_loop_factory()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(self.serve(started))

    async def serve(self, started: threading.Event | None = None) -> None:
        """Serve both origins until :meth:`stop`."""
        routes = Control(self._stage, self._services).routes()
        for service in self._services:
            routes += service.routes()
        apps: tuple[ASGIApp, ASGIApp] = Starlette(routes=routes), MediaHost(self._stage)
        self._servers = [_Server(_config(app)) for app in apps]
        for server in self._servers:
            server.should_exit = self._stopped
        watch = asyncio.create_task(self._watch(started))
        try:
            await asyncio.gather(
                *(server.serve(sockets=[sock]) for server, sock in zip(self._servers, self._sockets, strict=True))
            )
        finally:
            watch.cancel()

    def stop(self) -> None:
        """Have :meth:`serve` return soon."""
        self._stopped = True
        for server in self._servers:
            server.should_exit = True

    def _hang_up(self, scope: Scope) -> None:
        """Reset the connection that a request came on; no part of ASGI can do that before the answer begins."""
        for server in self._servers:
            for protocol in server.server_state.connections:
                if getattr(protocol, "client", None) == scope["client"]:
                    _reset(protocol.transport)

    async def _watch(self, started: threading.Event | None) -> None:
        """Say when the servers have started, then write files of late sessions as they appear."""
        while not all(server.started for server in self._servers):  # noqa: ASYNC110  # uvicorn has a flag, no event
            await asyncio.sleep(0.005)
        if started:
            started.set()
        while True:
            self._write_files()
            await asyncio.sleep(_WATCH_SECONDS)

    def _write_files(self) -> None:
        for service in self._services:
            service.write_files(self.inventory)


def _reset(transport: asyncio.Transport) -> None:
    """Close a connection with a reset: by a linger time of 0, which a copy of its descriptor can set."""
    with socket.fromfd(transport.get_extra_info("socket").fileno(), socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


def _listen(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((API_HOST, port))
    sock.listen(_BACKLOG)
    return sock


@contextlib.contextmanager
def running_sandbox(
    options: WorldOptions | None = None,
    *,
    faults: Iterable[str] = (),
    clock: Clock = utc_now,
    inventory: Path | None = None,
) -> Generator[Sandbox]:
    """Run a sandbox in a background thread of this process while the ``with`` block lasts.

    Args:
        options: what the world is made from; the default world if None.
        faults: faults to switch on, each ``NAME`` or ``NAME=VALUE``.
        clock: gives the time; a test may hold its hands.
        inventory: a folder for the session inventory; a temporary one if None.

    Raises:
        OptionError: an option or a fault is wrong.
        RuntimeError: the servers did not start.
    """
    # A connection that is cut on purpose is told to this logger with a traceback.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        sandbox = Sandbox(options or WorldOptions(), inventory=inventory or Path(folder) / "sessions", faults=faults, clock=clock)
        started = threading.Event()
        thread = threading.Thread(target=sandbox.run, args=(started,), name="sandbox", daemon=True)
        thread.start()
        try:
            if not started.wait(_START_SECONDS):
                msg = "the sandbox did not start"
                raise RuntimeError(msg)
            yield sandbox
        finally:
            sandbox.stop()
            thread.join()
