"""The sandbox's own endpoints, under ``/_sandbox/``, and the page that says what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from html import escape
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.faults import FAULTS
from sandbox.options import OptionError
from sandbox.service import ProviderService
from sandbox.stage import Stage

PREFIX = "/_sandbox"


class Control:
    """Endpoints for people and tests; none of them asks for a key."""

    def __init__(self, stage: Stage, services: Sequence[ProviderService]) -> None:
        self._stage = stage
        self._services = services

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the page and of the endpoints."""
        return [
            Route("/", self._page, methods=["GET"]),
            Route(f"{PREFIX}/truth", self._truth, methods=["GET"]),
            Route(f"{PREFIX}/requests", self._requests, methods=["GET"]),
            Route(f"{PREFIX}/secrets", self._secrets, methods=["GET"]),
            Route(f"{PREFIX}/faults", self._faults, methods=["GET"]),
            Route(f"{PREFIX}/faults", self._switch, methods=["POST"]),
            Route(f"{PREFIX}/faults", self._clear, methods=["DELETE"]),
            Route(f"{PREFIX}/reset", self._reset, methods=["POST"]),
        ]

    async def _truth(self, _request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self._stage.world.truth))

    async def _requests(self, _request: Request) -> Response:
        return JSONResponse(self._stage.tally.shown())

    async def _secrets(self, _request: Request) -> Response:
        return JSONResponse(self._stage.secrets())

    async def _faults(self, _request: Request) -> Response:
        return JSONResponse({"on": self._stage.faults.shown()})

    async def _switch(self, request: Request) -> Response:
        try:
            wish = await request.json()
            self._stage.faults.switch(str(wish["name"]), wish.get("value"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = str(error) if isinstance(error, OptionError) else 'send {"name": ..., "value": ...}'
            return JSONResponse({"error": hint}, status_code=HTTPStatus.BAD_REQUEST)
        return await self._faults(request)

    async def _clear(self, request: Request) -> Response:
        self._stage.faults.clear()
        return await self._faults(request)

    async def _reset(self, _request: Request) -> Response:
        self._stage.tally.reset()
        return JSONResponse({"reset": True})

    async def _page(self, _request: Request) -> Response:
        world = self._stage.world
        window = world.calendar.window()
        services = "".join(
            f"<tr><td>{service.name}<td><code>{service.base_path}</code><td>{len(world.executions[service.name])} executions"
            for service in self._services
        )
        faults = "".join(
            f"<tr><td><code>{fault}</code><td>{escape(kind.value)}<td>{escape(kind.meaning)}" for fault, kind in FAULTS.items()
        )
        return HTMLResponse(
            _PAGE.format(
                seed=world.options.seed,
                media=self._stage.media_origin,
                services=services,
                faults=faults,
                prefix=PREFIX,
                **window,
            )
        )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Recording sandbox</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
td {{ padding: .2rem 1rem .2rem 0; vertical-align: top; }}
</style></head><body>
<h1>Recording sandbox</h1>
<p>This process stands in for the APIs of three providers, and for the media hosts behind their presigned URLs. Everything
in it is invented: people, calls, keys. World {seed}, days {first} to {last} (UTC). Media comes from {media}.</p>
<h2>APIs</h2><table>{services}</table>
<h2>For you</h2><ul>
<li><a href="{prefix}/truth">{prefix}/truth</a>: what an archive should hold in the end
<li><a href="{prefix}/requests">{prefix}/requests</a>: what was asked so far; POST {prefix}/reset forgets it
<li><a href="{prefix}/secrets">{prefix}/secrets</a>: the keys, and every signature issued
<li><a href="{prefix}/faults">{prefix}/faults</a>: the faults that are on; POST <code>{{"name": ..., "value": ...}}</code>
switches one on, the value <code>false</code> switches it off, DELETE switches all off
</ul>
<h2>Faults</h2><table>{faults}</table>
</body></html>
"""
