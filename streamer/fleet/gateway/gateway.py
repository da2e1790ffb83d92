"""The gateway: builds the application over all workers, serves it, and ends it. Read this first.

    pages, programs ─► HTTP ─► Admission ─┬─► pass-through, sockets ─► the stream's worker
                                          ├─► streams: add, change, remove ─► the manager
                                          └─► overview, metrics, events ◄─ all workers
    Subscribers ◄──── XPUB ◄─ zmq.proxy ◄─ XSUB ◄──────────────────────── all workers

Tokens and scopes are checked here, as a daemon does; the workers know the gateway alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI

from streamer.api.access import Access
from streamer.api.network import NetworkServer
from streamer.api.routes.events import events_router
from streamer.api.routes.page import page_router
from streamer.api.routes.session import session_router
from streamer.api.routes.url_rules import UrlRules
from streamer.api.server.login_cookie import LoginCookie
from streamer.api.shell import admitted, without_routes
from streamer.fleet.gateway.config import GatewayConfig
from streamer.fleet.gateway.events import FleetEvents
from streamer.fleet.gateway.known_fleet import KnownFleet
from streamer.fleet.gateway.metrics import FleetMetrics
from streamer.fleet.gateway.overview import overview_router
from streamer.fleet.gateway.pass_through import pass_through_router
from streamer.fleet.gateway.results_proxy import ResultsProxy
from streamer.fleet.gateway.sockets import sockets_router
from streamer.fleet.gateway.streams import fleet_streams_router
from streamer.fleet.view import Fleet
from streamer.runtime.clock import Clock, SystemClock

CLOSE_S = 3.0
_DESCRIPTION = """\
Live video in, masks out: the streams of a whole fleet of daemons at one address.

Everything of one stream is passed through to the worker that has it: its own `/openapi.json`
describes these paths. Tokens, scopes and refusals are those of a daemon. A worker that is away is
`503` with `Retry-After`.
"""


class Gateway:
    """``start`` takes the addresses, ``run`` serves until cancelled, ``close`` ends everything."""

    def __init__(
        self,
        config: GatewayConfig,
        fleet: Fleet,
        *,
        certificate_folder: Callable[[], Path | None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        """``certificate_folder`` keeps a certificate of its own (``api.self_signed``).

        Raises ``ConfigError`` for a token or an endpoint that cannot be used.
        """
        self._config = config
        self._clock = clock or SystemClock()
        self._access = Access()
        self._access.read(config.api)
        self._known = KnownFleet(fleet, config.api.limits.connections)
        self._events = FleetEvents(self._known)
        self._network = NetworkServer(
            config.api, self._clock, certificate_folder=certificate_folder
        )
        self._results = ResultsProxy(config.zeromq)

    @property
    def endpoint(self) -> str:
        """The page's address, once started."""
        return self._network.endpoint or ""

    @property
    def results_endpoint(self) -> str:
        """Where a ``Subscriber`` connects, once started."""
        return self._results.endpoint

    async def start(self) -> None:
        """Bind and begin to serve.

        Raises ``ConfigError`` for an address that is taken, ``FleetError`` without a manager.
        """
        self._network.bind()
        self._access.cookie = LoginCookie(self._network.port or 0)
        await self._results.start()
        self._known.on_change(lambda view: self._results.follow(view, self._known.access))
        await self._known.start()
        await self._network.start(
            admitted(self._routes(), self._access, self._config.api, self._clock),
            is_open=self._access.authorisation.is_open,
        )

    async def run(self) -> None:
        """Serve, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._network.run())
            tasks.create_task(self._known.run())
            tasks.create_task(self._events.run())

    async def close(self) -> None:
        """End all connections."""
        self._events.hub.end_readers()
        await self._network.close(CLOSE_S)
        await self._known.close()
        await self._results.close()

    def _routes(self) -> FastAPI:
        application = without_routes(_DESCRIPTION)
        known, access, api = self._known, self._access, self._config.api
        hub = self._events.hub
        for router in (
            overview_router(known, access, api, hub.epoch, FleetMetrics(known)),
            session_router(access),
            events_router(hub, access.open_streams, known.stream),
            fleet_streams_router(known, UrlRules(api.url_schemes, api.url_hosts)),
            sockets_router(known),
            pass_through_router(known, access.open_streams),
            page_router(),
        ):
            application.include_router(router)
        return application
