"""The HTTP server's life: listening sockets, uvicorn on them, and an end within a time."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Container, Sequence

from starlette.types import ASGIApp
from uvicorn import Config, Server
from websockets.exceptions import InvalidState

from streamer.api.server.connections import Connections
from streamer.api.server.http_protocol import HttpProtocol
from streamer.api.server.idle_connections import IdleConnections
from streamer.api.server.websocket_protocol import WebSocketProtocol
from streamer.errors import ConfigError
from streamer.runtime.threads import report_failure

KEEP_ALIVE_TIMEOUT_S = 15
# A message of 256 detections with their masks. Bound: while one is being handled uvicorn reads no
# further one, so that a socket holds about two.
WEBSOCKET_MESSAGE_BYTES = 1024 * 1024
# The share of the time to close that running answers get; the rest is for cutting them.
_GRACEFUL_SHARE = 0.5
# Data that the client has not acknowledged by then ends the connection (tcp(7)).
UNREAD_TIMEOUT_S = 30.0
_BACKLOG = 128
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class HttpServer:
    """Serves one ASGI application on sockets that are bound already: TCP, or Unix.

    uvicorn's signal handlers and logs are not used: the daemon has its own handlers, and a warning
    for every malformed request would let strangers fill the log. asyncio's own loop is used: with
    uvloop the same floods cost as much.
    """

    def __init__(
        self,
        application: ASGIApp,
        sockets: Sequence[socket.socket],
        *,
        connections: int,
        proxies: Container[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``sockets`` are closed with the server. With ``tls`` all of them speak TLS.

        Addresses in ``proxies`` may hold all ``connections``, any other client a share.
        """
        self._sockets = list(sockets)
        self._server = Server(
            Config(
                application,
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_max_size=WEBSOCKET_MESSAGE_BYTES,
                ws_per_message_deflate=False,  # 300 kB a socket, and time of the event loop
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,  # BehindProxies reads them
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
            )
        )
        self._connections = Connections(
            self._server.server_state,
            self._protocol,
            limit=connections,
            proxies=proxies,
            tls=tls,
        )
        self._accepting: list[asyncio.Task[None]] = []
        self._idle = IdleConnections(self._server.server_state, limit=connections, proxies=proxies)

    async def start(self) -> None:
        """Get ready to accept connections."""
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup([])  # Connections accepts

    async def run(self) -> None:
        """Accept connections, keep the Date header and close idle ones, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._accepting = [
                tasks.create_task(self._connections.accept(each)) for each in self._sockets
            ]
            tasks.create_task(self._server.main_loop())
            tasks.create_task(self._idle.run())

    async def listen_instead(self, listening: socket.socket) -> None:
        """Accept connections from this socket only, while it runs; those that are open stay."""
        for accepting in self._accepting:
            accepting.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for each in self._sockets:
            each.close()
        task = asyncio.create_task(self._connections.accept(listening))
        task.add_done_callback(report_failure)
        self._sockets, self._accepting = [listening], [task]

    async def close(self, timeout_s: float) -> None:
        """Accept no more; let answers end, then cut what is left, within ``timeout_s``."""
        if not self._server.started:
            for each in self._sockets:
                each.close()
            return
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._server.config.timeout_graceful_shutdown = timeout_s  # type: ignore[assignment]
        cut = asyncio.get_running_loop().call_later(timeout_s * _GRACEFUL_SHARE, self._cut)
        try:
            await self._server.shutdown(self._sockets)
        except InvalidState:  # of a WebSocket that its peer is just closing
            self._cut()
            await asyncio.sleep(0)  # until the connections are gone
            await self._server.shutdown(self._sockets)
        finally:
            cut.cancel()

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(
            self._server.config, self._server.server_state, self._server.lifespan.state
        )

    def _cut(self) -> None:
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()


def tcp_sockets(host: str, port: int, section: str = "api") -> list[socket.socket]:
    """Sockets that listen at every address of ``host``, all on one port; port 0: any free one.

    Raises ``ConfigError``, with the keys of ``section``, when the port cannot be had.
    """
    listening: list[socket.socket] = []
    unusable: OSError | None = None
    for family, address in _addresses(host, port, section):
        try:
            listening.append(_listening(family, address, port))
            port = int(listening[0].getsockname()[1])
        except OSError as error:
            unusable = error
            if error.errno not in _NO_SUCH_ADDRESS:  # a machine without IPv6 has localhost too
                break
    if unusable is not None and (not listening or unusable.errno not in _NO_SUCH_ADDRESS):
        for each in listening:
            each.close()
        raise ConfigError(
            f"{section}.host, {section}.port: cannot listen on {host}:{port} "
            f"({unusable.strerror or unusable}); choose another {section}.port, 0 for any free "
            f"one, or {section}.enabled=false"
        ) from unusable
    return listening


def _listening(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # With its protocol named: asyncio sets TCP_NODELAY on such connections only, and without it
    # each answer waits 40 ms for the client's delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Connections inherit these.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            milliseconds = round(UNREAD_TIMEOUT_S * 1000)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def _addresses(host: str, port: int, section: str) -> Sequence[tuple[socket.AddressFamily, str]]:
    """Where to listen. Raises ``ConfigError`` for a name without an address here."""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(
            f"{section}.host: {host!r} is no address of this machine ({error.strerror or error})"
        ) from error
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
