"""The Prometheus page and the health checks on a port of their own, which needs no token.

Below the same HTTP server as the API. Probes of a container ask this port: the API's may be on
loopback, behind TLS or off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from streamer.api.server.answers import Answers
from streamer.api.server.limits import ClientRates
from streamer.api.server.origins import SAFE_METHODS, for_network
from streamer.api.server.problems import ProblemError
from streamer.api.server.server import HttpServer, tcp_sockets
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import CONTENT_TYPE, Metrics
from streamer.runtime.sockets import client_of, is_loopback

PATH = "/metrics"
ALIVE_PATH, READY_PATH = "/healthz", "/readyz"
# A few Prometheus servers and probes ask a few times a minute.
CONNECTIONS = 32
_REQUESTS_PER_S = 50.0
_BURST = 200


class MetricsServer:
    """Serves ``metrics`` at ``http://host:port/metrics``; port 0 takes any free one.

    ``/healthz`` and ``/readyz`` answer as the API's do; ``not_ready`` lists what does not run. It
    needs no token. At a loopback address it answers only to this machine's names.
    """

    def __init__(
        self,
        metrics: Metrics,
        host: str,
        port: int,
        clock: Clock,
        not_ready: Callable[[], list[str]],
    ) -> None:
        self._metrics = metrics
        self._not_ready = not_ready
        self._host = host
        self._port = port
        self._rates = ClientRates(_REQUESTS_PER_S, _BURST, clock)
        self._server: HttpServer | None = None

    async def start(self) -> None:
        """Take the port. Raises ``ConfigError`` when it cannot be had."""
        sockets = tcp_sockets(self._host, self._port, "metrics")
        self._port = sockets[0].getsockname()[1]
        only_host = self._host if is_loopback(self._host) else None
        page = for_network(Answers(self._page), cors_origins=(), only_host=only_host)
        self._server = HttpServer(page, sockets, connections=CONNECTIONS)
        await self._server.start()

    async def run(self) -> None:
        """Serve, until cancelled; once started."""
        assert self._server is not None, "the metrics server was not started"
        await self._server.run()

    @property
    def endpoint(self) -> str:
        """The page's address, with the port that is really used; once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}{PATH}"

    async def close(self, timeout_s: float) -> None:
        """End all connections, within ``timeout_s``."""
        if self._server is not None:
            await self._server.close(timeout_s)
            self._server = None

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in (PATH, ALIVE_PATH, READY_PATH):
            raise ProblemError(404, f"the metrics are at {PATH}")
        if scope["method"] not in SAFE_METHODS:
            raise ProblemError(405, "the metrics can only be read", headers={"Allow": "GET, HEAD"})
        self._rates.take(client_of(scope["client"][0]))
        await (await self._answer(scope["path"]))(scope, receive, send)

    async def _answer(self, path: str) -> Response:
        if path == PATH:
            text = await asyncio.to_thread(self._metrics.exposition)
            return Response(text, headers={"Content-Type": CONTENT_TYPE})
        if path == READY_PATH and (missing := self._not_ready()):
            raise ProblemError(503, f"not running: {', '.join(missing)}", "not_ready")
        return JSONResponse({"status": "ready" if path == READY_PATH else "ok"})
