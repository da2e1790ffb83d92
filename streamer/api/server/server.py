"""The HTTP server's life: listening, serving, and an end within a time."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.server import ServerState

from streamer.api.server.connections import (
    Acceptor,
    HttpProtocol,
    WebSocketProtocol,
)
from streamer.errors import ConfigError

# Answers that are under way get this share of the time to close; the rest cuts them.
GRACEFUL_SHARE = 0.5
KEEP_ALIVE_TIMEOUT_S = 15
HEAD_BYTES = 32 * 1024
WEBSOCKET_MESSAGE_BYTES = 16 * 1024
_BACKLOG = 128
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class ApiServer:
    """Serves one ASGI application on one port, in the running event loop.

    uvicorn's signal handlers, log configuration and access log are not used: the daemon has its
    own.
    """

    def __init__(self, host: str, port: int, *, connections: int) -> None:
        self._host = host
        self._port = port
        self._connections = connections
        self._listeners: list[socket.socket] = []
        self._acceptor: Acceptor | None = None
        self._uvicorn: Server | None = None
        self._secure = False

    def bind(self) -> None:
        """Take the port. Raises ``ConfigError`` when it cannot be had."""
        unusable: OSError | None = None
        for family, address in _addresses(self._host, self._port):
            # One port for all addresses of a name: with port 0 the first one chooses.
            try:
                self._listeners.append(_listener(family, address, self._port))
                self._port = int(self._listeners[0].getsockname()[1])
            except OSError as error:
                unusable = error
                if error.errno not in _NO_SUCH_ADDRESS:  # a machine without IPv6 has localhost too
                    break
        if unusable is not None and (not self._listeners or unusable.errno not in _NO_SUCH_ADDRESS):
            self._close_listeners()
            raise ConfigError(
                f"api.host, api.port: cannot listen on {self._host}:{self._port} "
                f"({unusable.strerror or unusable}); choose another api.port, 0 for any free one, "
                "or api.enabled=false"
            ) from unusable

    @property
    def port(self) -> int:
        """The port that is really used; once bound."""
        return self._port

    @property
    def endpoint(self) -> str:
        """The address of the page, without a path; once bound."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        if host in ("", "0.0.0.0", "[::]"):
            host = socket.gethostname()
        return f"{'https' if self._secure else 'http'}://{host}:{self.port}"

    def start(self, application: ASGIApp, tls: ssl.SSLContext | None = None) -> None:
        """Take connections and answer their requests."""
        self._secure = tls is not None
        config = Config(
            application,
            http=HttpProtocol,  # only named here: the acceptor makes them
            ws=WebSocketProtocol,
            ws_max_size=WEBSOCKET_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # 300 kB a socket, and time of the event loop
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # anybody can write X-Forwarded-For
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        config.load()
        self._uvicorn = Server(config)
        self._acceptor = Acceptor(
            self._listeners,
            config,
            self._uvicorn.server_state,
            tls=tls,
            limit=self._connections,
        )
        self._acceptor.start()

    async def run(self) -> None:
        """Keep the Date header, until cancelled."""
        assert self._uvicorn is not None, "the server was not started"
        await self._uvicorn.main_loop()

    async def close(self, timeout_s: float) -> None:
        """Take nothing more; let answers end, then cut what is left, within ``timeout_s``."""
        if self._acceptor is None or self._uvicorn is None:
            self._close_listeners()
            return
        self._acceptor.stop()
        state = self._uvicorn.server_state
        for connection in tuple(state.connections):
            connection.shutdown()
        await _ended(state, timeout_s * GRACEFUL_SHARE)
        await self._acceptor.close(timeout_s * (1 - GRACEFUL_SHARE))

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []


async def _ended(state: ServerState, timeout_s: float) -> None:
    """Wait for the answers that are under way, at most so long."""
    if state.tasks:
        await asyncio.wait(tuple(state.tasks), timeout=timeout_s)


def _listener(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _addresses(host: str, port: int) -> Sequence[tuple[socket.AddressFamily, str]]:
    """Where to listen. Raises ``ConfigError`` for a name that leads nowhere."""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(
            f"api.host: {host!r} is no address of this machine ({error.strerror or error})"
        ) from error
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
