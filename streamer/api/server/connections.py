"""Takes connections from listening sockets, with a bound on their number and a time for TLS."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Container

from uvicorn.server import ServerState

from streamer.api.server.limits import client_share
from streamer.runtime.sockets import client_of

TLS_HANDSHAKE_TIMEOUT_S = 10.0
_TLS_CLOSE_TIMEOUT_S = 5.0
# Connections are refused above this multiple of `api.limits.connections`, idle ones and TLS
# handshakes included. The limit itself is lower; there `RunningRequests` and `IdleConnections` act.
_REFUSED_ABOVE = 4
# Descriptors or memory ran out: others have to end first.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_PAUSE_S = 1.0
_log = logging.getLogger(__name__)


class Connections:
    """The connections of one server, ``open`` ones and those in their TLS handshake.

    Bound: ``limit`` times ``_REFUSED_ABOVE``, and a share of it for a client that is none of the
    ``proxies``. Policy: further connections are closed unanswered.
    """

    def __init__(
        self,
        state: ServerState,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        limit: int,
        proxies: Container[str],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._open = state.connections
        self._make_protocol = make_protocol
        self._maximum = limit * _REFUSED_ABOVE
        self._proxies = proxies
        self._tls = tls
        self._handshakes: Counter[str] = Counter()

    async def accept(self, listening: socket.socket) -> None:
        """Take connections from ``listening``, until cancelled."""
        loop = asyncio.get_running_loop()
        is_exhausted = False
        async with asyncio.TaskGroup() as handshakes:
            while True:
                try:
                    connection, address = await loop.sock_accept(listening)
                except OSError as error:
                    if error.errno in _EXHAUSTED:
                        if not is_exhausted:
                            _log.warning(
                                "connections wait until others end (%s); allow more open files",
                                error.strerror,
                            )
                        is_exhausted = True
                        await asyncio.sleep(_EXHAUSTED_PAUSE_S)
                    continue
                is_exhausted = False
                host = str(address[0]) if isinstance(address, tuple) else ""
                if self._has_room(host):
                    handshakes.create_task(self._begin(connection, client_of(host)))
                else:
                    connection.close()
                await asyncio.sleep(0)  # others must have their turn under a flood

    def _has_room(self, host: str) -> bool:
        if len(self._open) + self._handshakes.total() >= self._maximum:
            return False
        if host in self._proxies or not host:
            return True
        client = client_of(host)
        held = sum(client_of_connection(each) == client for each in self._open)
        return held + self._handshakes[client] < client_share(self._maximum)

    async def _begin(self, connection: socket.socket, client: str) -> None:
        timeouts = {}
        if self._tls is not None:
            timeouts["ssl_handshake_timeout"] = TLS_HANDSHAKE_TIMEOUT_S
            timeouts["ssl_shutdown_timeout"] = _TLS_CLOSE_TIMEOUT_S
        self._handshakes[client] += 1
        try:
            # A peer that left, speaks no TLS or takes too long is no news.
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._make_protocol, connection, ssl=self._tls, **timeouts
                )
        finally:
            self._handshakes[client] -= 1
            if not self._handshakes[client]:
                del self._handshakes[client]


def client_of_connection(connection: object) -> str:
    """The unit that limits apply to; empty for the Unix socket and its like."""
    client: tuple[str, int] | None = getattr(connection, "client", None)
    return "" if client is None else client_of(client[0])
