"""The Prometheus page on a port of its own, by ``prometheus_client``'s server in its threads."""

from __future__ import annotations

import asyncio
from typing import cast
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from streamer.errors import ConfigError
from streamer.runtime.metrics import Metrics

# A connection without traffic for this long is closed; each one has a thread.
IDLE_TIMEOUT_S = 5.0


class MetricsServer:
    """Serves ``metrics`` at ``http://host:port/metrics``; port 0 takes any free one."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        self._metrics = metrics
        self._host = host
        self._port = port
        self._server: WSGIServer | None = None

    def start(self) -> None:
        """Listen and serve. Raises ``ConfigError`` when the address cannot be had."""
        try:
            server, _ = start_http_server(self._port, self._host, self._metrics.registry)
        except OSError as error:
            raise ConfigError(
                f"metrics.host, metrics.port: cannot listen on {self._host}:{self._port} "
                f"({error.strerror or error}); choose another port, or 0 for any free one"
            ) from error
        handler = cast(type, server.RequestHandlerClass)
        server.RequestHandlerClass = type("Handler", (handler,), {"timeout": IDLE_TIMEOUT_S})
        self._server = server

    @property
    def endpoint(self) -> str:
        """The page's address, with the port that is really used; once started."""
        assert self._server is not None, "the metrics server was not started"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_port}/metrics"

    async def close(self) -> None:
        """Stop listening; a connection that is open ends within ``IDLE_TIMEOUT_S``."""
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            self._server = None
