"""Connections: how many there may be, and for how long one may say nothing.

uvicorn reads HTTP/1.1 and WebSockets; what it leaves to a proxy in front is done here, because
there need not be one: a connection is counted from the moment it is accepted (TLS handshake
included), a request must have come in whole within a time, and what is not read is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState

from streamer.api.server.limits import client_of
from streamer.api.server.problems import (
    ProblemError,
    busy,
)

# From the first byte (or the connection) to the end of a request's head.
HEAD_TIMEOUT_S = 10.0
TLS_TIMEOUT_S = 10.0
# What was sent and is not taken by then ends the connection (tcp(7), TCP_USER_TIMEOUT).
UNREAD_TIMEOUT_S = 30.0
# Above the limits so many more are told so (503); the others are closed without a word.
REFUSED_AT_ONCE = 16
# One client may hold this share of all connections.
CLIENT_SHARE = 0.5
_ACCEPT_RETRY_S = 0.5
_log = logging.getLogger(__name__)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which tells when its connection is gone."""

    on_lost: Callable[[], None] | None = None

    def shutdown(self) -> None:
        """The server stops."""
        try:
            super().shutdown()
        except InvalidState:  # the peer, or the route, said goodbye a moment ago
            self.transport.close()

    async def send(self, message: Any) -> None:
        """Pass on what the application says."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True  # uvicorn logs an error for every refusal without it

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()


class HttpProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a deadline for the head, and problem details for bad HTTP."""

    def __init__(
        self, *, refusal: ProblemError | None, on_lost: Callable[[], None], **uvicorn_parts: Any
    ) -> None:
        """``refusal``: what every request on this connection is answered with."""
        super().__init__(**uvicorn_parts)
        self._on_lost = on_lost
        self._head_deadline: asyncio.TimerHandle | None = None
        if refusal is not None:
            self.app = refusal.response()
            self.ws_protocol_class = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection is there, TLS included."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._head_came()
        super().connection_lost(exc)
        self._on_lost()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The request asks for a WebSocket: another protocol goes on with the connection."""
        self._head_came()
        super().handle_websocket_upgrade(event)
        protocol = self.transport.get_protocol()
        if isinstance(protocol, WebSocketProtocol):
            protocol.on_lost = self._on_lost

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of the next one."""
        if self._head_deadline is None and self.conn.their_state is h11.IDLE:
            self._expect_head()
        super().data_received(data)

    def handle_events(self) -> None:
        """Act on what was received."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._head_came()
        elif self._head_deadline is None and self.conn.trailing_data[0]:
            self._expect_head()  # it began together with the request before

    def send_400_response(self, msg: str) -> None:
        """The bytes are no HTTP request."""
        self._refuse(ProblemError(400, msg))

    def _expect_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _head_came(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_is_late(self) -> None:
        self._head_deadline = None
        if not self.transport.is_closing():
            self._refuse(ProblemError(408, f"no request came within {HEAD_TIMEOUT_S:g} s"))

    def _refuse(self, problem: ProblemError) -> None:
        response = problem.response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer is under way: only close
            for event in (
                h11.Response(status_code=problem.status, headers=headers),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Acceptor:
    """Takes connections on sockets that listen, and serves each with uvicorn.

    Bounds: ``limit`` connections at once, of one client ``CLIENT_SHARE`` of them; of the others
    ``REFUSED_AT_ONCE`` are told so, and all further ones closed at once.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        config: Config,
        state: ServerState,
        *,
        tls: ssl.SSLContext | None,
        limit: int,
    ) -> None:
        self._listeners = listeners
        self._config = config
        self._state = state
        self._tls = tls
        self._limit = limit
        self._client_limit = max(1, int(limit * CLIENT_SHARE))
        self._of_client: Counter[str] = Counter()
        self._admitted: set[asyncio.Task[None]] = set()
        self._refused: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take connections from now on."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.add_reader(listener, self._accept, listener)

    def stop(self) -> None:
        """Take no more, and close the sockets; connections go on."""
        loop = asyncio.get_running_loop()
        if self._retry is not None:
            self._retry.cancel()
        for listener in self._listeners:
            loop.remove_reader(listener)
            listener.close()
        self._listeners = ()

    async def close(self, timeout_s: float) -> None:
        """Cut every connection that is left; returns once they are gone, or the time is over."""
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        connections = {*self._admitted, *self._refused}
        for task in connections:
            task.cancel()
        if waiting := {*connections, *self._state.tasks}:
            await asyncio.wait(waiting, timeout=timeout_s)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, address = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # the peer has left already
        except OSError as error:  # out of file descriptors: wait, for it would be called at once
            _log.warning("a connection was not accepted: %s", error)
            loop.remove_reader(listener)
            self._retry = loop.call_later(_ACCEPT_RETRY_S, self.start)
            return
        client = client_of(str(address[0]))
        refusal = self._refusal(client)
        group = self._admitted if refusal is None else self._refused
        if refusal is not None and len(group) >= REFUSED_AT_ONCE:
            connection.close()
            return
        connection.setblocking(False)
        task = loop.create_task(self._serve(connection, client, refusal))
        group.add(task)
        task.add_done_callback(group.discard)

    def _refusal(self, client: str) -> ProblemError | None:
        if len(self._admitted) >= self._limit:
            return busy(f"{self._limit} connections are open already (api.limits.connections)", 5)
        if self._of_client[client] >= self._client_limit:
            return busy(f"{client} holds {self._client_limit} connections already", 5)
        return None

    async def _serve(
        self, connection: socket.socket, client: str, refusal: ProblemError | None
    ) -> None:
        """From the handshake to the end of the connection."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def protocol() -> HttpProtocol:
            return HttpProtocol(
                refusal=refusal,
                on_lost=ended.set,
                config=self._config,
                server_state=self._state,
                app_state={},
            )

        if refusal is None:
            self._of_client[client] += 1
        try:
            _cut_what_is_not_read(connection)
            await loop.connect_accepted_socket(
                protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else TLS_TIMEOUT_S,
            )
            await ended.wait()
        except OSError:  # the peer's own trouble: no TLS, or gone
            connection.close()
        finally:
            if refusal is None:
                self._left(client)

    def _left(self, client: str) -> None:
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]


def _cut_what_is_not_read(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        milliseconds = round(UNREAD_TIMEOUT_S * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
