"""The HTTP API as one part of the daemon: what it serves, who may come in, and the server."""

from __future__ import annotations

import asyncio
import logging

from streamer.api.application import make_application
from streamer.api.authorisation import Authorisation
from streamer.api.context import ApiContext, Commands
from streamer.api.event_hub import EventHub
from streamer.api.limits import OpenStreams
from streamer.api.server import ApiServer
from streamer.api.tls import Certificate, make_certificate
from streamer.config import MaskletConfig
from streamer.errors import UnknownStreamError
from streamer.metrics import Metrics
from streamer.network_checks import is_loopback
from streamer.picture.hub import PictureHub
from streamer.picture.whep_server import WhepServer
from streamer.sinks.base import Sink
from streamer.sinks.json_results import ResultsHub
from streamer.state_folder import state_folder
from streamer.timing import Clock
from streamer.webrtc.ice_settings import IceSettings
from streamer.webrtc.whip import Whip

# A browser keeps cookies by host, not by port: two daemons on one machine need two names.
_COOKIE_PREFIX = "masklet_login"
CERTIFICATE_CHECK_S = 600.0
_log = logging.getLogger(__name__)


class Api:
    """Control API, live pictures and page at ``api.host:api.port``.

    ``bind`` takes the port, ``start`` serves, ``close`` ends within a time. ``sinks``
    are to be given what the daemon publishes.
    """

    def __init__(
        self,
        commands: Commands,
        config: MaskletConfig,
        *,
        whip: Whip,
        ice_settings: IceSettings,
        metrics: Metrics,
        maximum_streams: int,
        clock: Clock,
    ) -> None:
        """Read the tokens. Raises ``ConfigError`` for one that cannot be used."""
        self._commands = commands
        self._config = config
        self._whip = whip
        self._metrics = metrics
        self._maximum_streams = maximum_streams
        self._clock = clock
        self._authorisation = Authorisation(config.api.tokens, clock)
        self._events = EventHub()
        self._results = ResultsHub(metrics, clock)
        self._picture = PictureHub(config.picture, metrics, clock)
        self._whep = WhepServer(
            self._picture,
            ice_settings,
            maximum_viewers=config.webrtc.viewers,
            has_stream=self._has_stream,
            metrics=metrics,
            clock=clock,
        )
        self.sinks: tuple[Sink, ...] = (self._events, self._results, self._picture)
        self._certificate: Certificate | None = None
        self._server = ApiServer(
            config.api.host, config.api.port, connections=config.api.limits.connections
        )

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
        self._server.bind()

    def start(self) -> None:
        """Put the routes together and serve them."""
        context = ApiContext(
            commands=self._commands,
            config=self._config,
            metrics=self._metrics,
            authorisation=self._authorisation,
            events=self._events,
            results=self._results,
            picture=self._picture,
            whep=self._whep,
            whip=self._whip,
            open_streams=OpenStreams(self._config.api.limits.open_streams),
            maximum_streams=self._maximum_streams,
            secure=self._certificate is not None,
            cookie_name=f"{_COOKIE_PREFIX}_{self._server.port}",
        )
        tls = None if self._certificate is None else self._certificate.context
        self._server.start(make_application(context, self._clock), tls)

    @property
    def endpoint(self) -> str:
        """The page's address; once bound."""
        return self._server.endpoint

    async def run(self) -> None:
        """What has to be done again and again while serving, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.run())
            if self._certificate is not None:
                tasks.create_task(self._refresh(self._certificate))

    async def close(self, timeout_s: float) -> None:
        """End what is open, within ``timeout_s``."""
        self._events.end_readers()
        self._results.end_readers()
        self._picture.end_watching()
        viewers = asyncio.ensure_future(self._whep.close())
        await asyncio.gather(
            self._server.close(timeout_s), asyncio.wait({viewers}, timeout=timeout_s)
        )

    async def _refresh(self, certificate: Certificate) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_CHECK_S)
            await asyncio.to_thread(certificate.refresh)

    def _has_stream(self, stream_id: str) -> bool:
        try:
            self._commands.stream_config(stream_id)
        except UnknownStreamError:
            return False
        return True
