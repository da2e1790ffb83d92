"""The HTTP API as one part of the daemon: what it serves, who may come in, and the server."""

from __future__ import annotations

import asyncio

from streamer.api.application import make_application
from streamer.api.authorisation import Authorisation
from streamer.api.context import ApiContext, Commands
from streamer.api.event_hub import EventHub
from streamer.api.limits import OpenStreams
from streamer.api.server import ApiServer
from streamer.config import MaskletConfig
from streamer.errors import UnknownStreamError
from streamer.metrics import Metrics
from streamer.picture.hub import PictureHub
from streamer.picture.whep_server import WhepServer
from streamer.sinks.base import Sink
from streamer.sinks.json_results import ResultsHub
from streamer.timing import Clock
from streamer.webrtc.ice_settings import IceSettings
from streamer.webrtc.whip import Whip

# A browser keeps cookies by host, not by port: two daemons on one machine need two names.
_COOKIE_PREFIX = "masklet_login"


class Api:
    """Control API, live pictures and page at ``api.host:api.port``.

    ``bind`` takes the port, ``start`` and ``run`` serve, ``close`` ends within a time. ``sinks``
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
        self._server = ApiServer(
            config.api.host, config.api.port, connections=config.api.limits.connections
        )

    def bind(self) -> None:
        """Take the port. Raises ``ConfigError`` when it cannot be had."""
        self._server.bind()

    def start(self) -> None:
        """Put the routes together; the daemon can be asked from ``run`` on."""
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
            secure=False,
            cookie_name=f"{_COOKIE_PREFIX}_{self._server.port}",
        )
        self._server.start(make_application(context, self._clock))

    @property
    def endpoint(self) -> str:
        """The page's address; once bound."""
        return self._server.endpoint

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._server.run()

    async def close(self, timeout_s: float) -> None:
        """End what is open, within ``timeout_s``."""
        self._events.end_readers()
        self._results.end_readers()
        viewers = asyncio.ensure_future(self._whep.close())
        await asyncio.gather(
            self._server.close(timeout_s), asyncio.wait({viewers}, timeout=timeout_s)
        )

    def _has_stream(self, stream_id: str) -> bool:
        try:
            self._commands.stream_config(stream_id)
        except UnknownStreamError:
            return False
        return True
