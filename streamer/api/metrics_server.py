"""The Prometheus page: a very small HTTP server for ``GET /metrics`` on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from streamer.errors import ConfigError
from streamer.runtime.metrics import Metrics

REQUEST_TIMEOUT_S = 5.0
MAXIMUM_CONNECTIONS = 16
MAXIMUM_REQUEST_BYTES = 16 * 1024
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsServer:
    """Serves ``metrics`` at ``http://host:port/metrics``; port 0 takes any free one.

    A peer that sends nothing, too much or too slowly is cut off after ``REQUEST_TIMEOUT_S``;
    above ``MAXIMUM_CONNECTIONS`` further ones are closed at once. Every answer ends its
    connection.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        self._metrics = metrics
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._answering: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Listen. Raises ``ConfigError`` when the address cannot be had."""
        try:
            self._server = await asyncio.start_server(
                self._answer, self._host, self._port, limit=MAXIMUM_REQUEST_BYTES
            )
        except OSError as error:
            raise ConfigError(
                f"metrics.host, metrics.port: cannot listen on {self._host}:{self._port} "
                f"({error.strerror or error}); choose another port, or 0 for any free one"
            ) from error

    @property
    def endpoint(self) -> str:
        """The page's address, with the port that is really used."""
        assert self._server is not None, "the metrics server was not started"
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{port}/metrics"

    async def close(self) -> None:
        """Stop listening and end the connections that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._answering.values():
            writer.transport.abort()
        if self._answering:
            await asyncio.wait(tuple(self._answering))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is answered by a task"
        self._answering[task] = writer
        try:
            if len(self._answering) <= MAXIMUM_CONNECTIONS:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._response(head))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the peer's own trouble: its connection ends
        finally:
            del self._answering[task]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
        if method not in (b"GET", b"HEAD"):
            return _reply("405 Method Not Allowed", b"only GET\n", extra="Allow: GET, HEAD\r\n")
        if path not in (b"/metrics", b"/"):
            return _reply("404 Not Found", b"the metrics are at /metrics\n")
        return _reply("200 OK", self._metrics.exposition(), with_body=method == b"GET")


def _reply(status: str, body: bytes, *, extra: str = "", with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n{extra}Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + (body if with_body else b"")
