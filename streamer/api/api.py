"""The HTTP API as one part of the daemon: what it serves, who may come in, and the server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from collections.abc import Callable

from streamer.api.application import make_application
from streamer.api.context import ApiContext, ObjectCommands, StreamCommands
from streamer.api.detection_intake import DetectionIntake
from streamer.api.server.authorisation import Authorisation
from streamer.api.server.limits import OpenStreams
from streamer.api.server.origins import for_network
from streamer.api.server.server import HttpServer, tcp_sockets
from streamer.api.server.tls import (
    Certificate,
    make_certificate,
)
from streamer.api.webrtc.whep_server import WhepServer
from streamer.api.webrtc.whip import Whip
from streamer.config.schema import MaskletConfig
from streamer.config.state_folder import state_folder
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.runtime.sockets import is_loopback
from streamer.sinks.events import EventHub
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.websocket import ResultsHub
from streamer.starters.stream_starter import StarterState

# A browser keeps cookies by host, not by port: two daemons on one machine need two names.
_COOKIE_PREFIX = "masklet_login"
CERTIFICATE_CHECK_S = 600.0
_log = logging.getLogger(__name__)


class Api:
    """Control API, live pictures and page at ``api.host:api.port``.

    ``bind`` takes the port, ``start`` serves, ``close`` ends within a time.
    """

    def __init__(
        self,
        config: MaskletConfig,
        *,
        streams: StreamCommands,
        objects: ObjectCommands,
        starter: Callable[[str], StarterState | None],
        detections: DetectionIntake,
        events: EventHub,
        results: ResultsHub,
        picture: PictureHub,
        whep: WhepServer,
        whip: Whip,
        model_name: str,
        device_name: str,
        not_ready: Callable[[], list[str]],
        maximum_streams: int,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Read the tokens. Raises ``ConfigError`` for one that cannot be used."""
        self._config = config
        self._clock = clock
        self._context = ApiContext(
            config=config,
            streams=streams,
            objects=objects,
            starter=starter,
            detections=detections,
            events=events,
            results=results,
            picture=picture,
            whep=whep,
            whip=whip,
            model_name=model_name,
            device_name=device_name,
            not_ready=not_ready,
            maximum_streams=maximum_streams,
            metrics=metrics,
            authorisation=Authorisation(config.api.tokens, clock),
            open_streams=OpenStreams(config.api.limits.open_streams),
            secure=False,
            cookie_name=_COOKIE_PREFIX,
        )
        self._certificate: Certificate | None = None
        self._sockets: list[socket.socket] = []
        self._server: HttpServer | None = None

    def bind(self) -> None:
        """Take the port and the certificate. Raises ``ConfigError`` when that is impossible."""
        config = self._config
        further_names = [config.api.host]
        if config.webrtc.advertised_address is not None:
            further_names.append(config.webrtc.advertised_address)
        self._certificate = make_certificate(
            config.api,
            state_folder(config.state_directory, config.control.endpoint),
            further_names,
            self._clock,
        )
        if self._certificate is None and not is_loopback(config.api.host):
            _log.warning(
                "tokens and pictures pass unencrypted at %s: set api.self_signed=true, or "
                "api.tls_certificate and api.tls_key",
                config.api.host,
            )
        self._sockets = tcp_sockets(config.api.host, config.api.port)
        self._port = int(self._sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Put the routes together and serve them."""
        context = dataclasses.replace(
            self._context,
            secure=self._certificate is not None,
            cookie_name=f"{_COOKIE_PREFIX}_{self._port}",
        )
        api = self._config.api
        application = make_application(context, self._clock)
        self._server = HttpServer(
            for_network(
                application,
                cors_origins=[origin.lower() for origin in api.cors_origins],
                only_host=api.host if context.authorisation.is_open else None,
            ),
            self._sockets,
            connections=api.limits.connections,
            tls=None if self._certificate is None else self._certificate.context,
        )
        await self._server.start()

    @property
    def endpoint(self) -> str:
        """The page's address, with the port that is really used; once bound."""
        host = self._config.api.host
        if host in ("", "0.0.0.0", "::"):
            host = socket.gethostname()
        elif ":" in host:
            host = f"[{host}]"
        return f"{'http' if self._certificate is None else 'https'}://{host}:{self._port}"

    async def run(self) -> None:
        """What has to be done again and again while serving, until cancelled."""
        assert self._server is not None, "the server was not started"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.run())
            if self._certificate is not None:
                tasks.create_task(self._refresh(self._certificate))

    async def close(self, timeout_s: float) -> None:
        """End what is open, within ``timeout_s``."""
        self._context.events.end_readers()
        self._context.results.end_readers()
        self._context.picture.end_watching()
        viewers = asyncio.ensure_future(self._context.whep.close())
        if self._server is not None:
            await self._server.close(timeout_s)
        for each in self._sockets:
            each.close()
        await asyncio.wait({viewers}, timeout=timeout_s)

    async def _refresh(self, certificate: Certificate) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_CHECK_S)
            await asyncio.to_thread(certificate.refresh)
