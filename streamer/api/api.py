"""The HTTP API as one part of the daemon: who may come in, the routes, and the server."""

from __future__ import annotations

from streamer.api.application import make_application
from streamer.api.authorisation import Authorisation
from streamer.api.context import ApiContext, Commands
from streamer.api.event_hub import EventHub
from streamer.api.limits import OpenStreams
from streamer.api.server import ApiServer
from streamer.config import MaskletConfig
from streamer.metrics import Metrics
from streamer.timing import Clock

# A browser keeps cookies by host, not by port: two daemons on one machine need two names.
_COOKIE_PREFIX = "masklet_login"


class Api:
    """Control API, health and page at ``api.host:api.port``.

    ``bind`` takes the port, ``start`` and ``run`` serve, ``close`` ends within a time.
    """

    def __init__(
        self,
        commands: Commands,
        config: MaskletConfig,
        *,
        metrics: Metrics,
        events: EventHub,
        maximum_streams: int,
        clock: Clock,
    ) -> None:
        """Read the tokens. Raises ``ConfigError`` for one that cannot be used."""
        self._commands = commands
        self._config = config
        self._metrics = metrics
        self._events = events
        self._maximum_streams = maximum_streams
        self._clock = clock
        self._authorisation = Authorisation(config.api.tokens, clock)
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

    @property
    def is_listening(self) -> bool:
        """Whether requests are answered."""
        return self._server.is_listening

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._server.run()

    async def close(self, timeout_s: float) -> None:
        """End what is open, within ``timeout_s``."""
        self._events.end_readers()
        await self._server.close(timeout_s)
