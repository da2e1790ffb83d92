"""The publisher's ZeroMQ socket with all that belongs to it: address, keys, watched connections."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import zmq
import zmq.asyncio

from streamer.config.schema import ZeroMQConfig
from streamer.runtime.metrics import Metrics
from streamer.runtime.sockets import notice_dead_peers
from streamer.runtime.threads import report_failure
from streamer.sinks.zeromq.bind import bind_socket, check_bind, is_ipv6
from streamer.sinks.zeromq.connection_limit import ConnectionLimit
from streamer.sinks.zeromq.connections import Connection, Connections
from streamer.sinks.zeromq.curve_gate import CurveGate, make_gate
from streamer.sinks.zeromq.inbound_limit import limit_inbound, sent_too_much
from streamer.sinks.zeromq.revoked_keys import RevokedKeys

CHECK_INTERVAL_S = 0.1
# New connections are counted as they come, those of so much time together.
ACCEPT_INTERVAL_S = 0.005
# From the first byte to the end of the handshake, the allow-list's answer included.
HANDSHAKE_TIMEOUT_MS = 5000


class BoundSocket:
    """An XPUB socket, used on the event loop: made, given options by ``socket``, bound, closed."""

    def __init__(self, config: ZeroMQConfig, metrics: Metrics | None = None) -> None:
        """Not bound yet.

        Raises ``ConfigError`` for an impossible endpoint and ``SecurityError`` for one that is
        open to others without keys.
        """
        self._config = config
        self._metrics = metrics
        self._limit_bytes = config.subscription_kib * 1024
        self._is_encrypted = not (
            config.server_key_file is None and config.client_keys_directory is None
        )
        check_bind(config.endpoint, self._is_encrypted)
        self._context = zmq.asyncio.Context()
        self.socket: zmq.asyncio.Socket = self._context.socket(zmq.XPUB)
        self.socket.linger = config.linger_ms
        self.socket.setsockopt(zmq.IPV6, int(is_ipv6(config.endpoint)))
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)
        notice_dead_peers(self.socket)
        limit_inbound(self.socket)
        self._connections = Connections(self.socket)
        self._limit = ConnectionLimit(
            self._connections, config.max_connections, config.max_connections_per_address
        )
        self._gate: CurveGate | None = None
        self._revoked: RevokedKeys | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def endpoint(self) -> str:
        """Where it is bound, with the port that is really used."""
        return self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def described(self) -> str:
        """The endpoint and who may connect, for a log."""
        suffix = " (CURVE, keys of the allow-list only)" if self._is_encrypted else ""
        return self.endpoint + suffix

    async def bind(self) -> None:
        """Let others connect. Raises ``SecurityError`` and ``ConfigError``, and is closed then."""
        config = self._config
        try:
            if self._is_encrypted:
                self._gate = make_gate(
                    self._context, self.socket, config.server_key_file, config.client_keys_directory
                )
                self._gate.start()
                self._revoked = RevokedKeys(self._gate.allowed)
            bind_socket(self.socket, config.endpoint)
        except BaseException:
            await self.close()
            raise
        self._watching = asyncio.create_task(self._watch(), name="zeromq-watch")
        self._watching.add_done_callback(report_failure)

    def received(self, message: zmq.Frame) -> None:
        """Note which client a message came from; one that sent too many is disconnected."""
        connection = self._connections.sender_of(message)
        if connection is not None and sent_too_much(connection, None, self._limit_bytes):
            self._end(connection, "sent_too_much")

    async def close(self) -> None:
        """Release everything, once what was sent is gone or the linger time is over."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        self._connections.close()
        self.socket.close(linger=self._config.linger_ms)
        if self._gate is not None:
            await self._gate.stop()
        await asyncio.to_thread(self._context.term)

    async def _watch(self) -> None:
        """Check how many connections there are as they come, and each of them again and again."""
        checked_monotonic_s = 0.0
        while True:
            await self._connections.wait(CHECK_INTERVAL_S)
            self._connections.update()
            for connection in self._limit.surplus():
                self._end(connection, "too_many")
            if time.monotonic() - checked_monotonic_s >= CHECK_INTERVAL_S:
                self._check_each()
                checked_monotonic_s = time.monotonic()
            await asyncio.sleep(ACCEPT_INTERVAL_S)

    def _check_each(self) -> None:
        if self._revoked is not None:
            self._revoked.update(self._connections.keys)
        to_be_ended: list[tuple[Connection, str]] = []
        for connection, handle in self._connections.open():
            with suppress(OSError):  # it ended meanwhile
                if sent_too_much(connection, handle, self._limit_bytes):
                    to_be_ended.append((connection, "sent_too_much"))
                elif self._revoked is not None and self._revoked.holds(connection):
                    to_be_ended.append((connection, "revoked"))
        for connection, reason in to_be_ended:
            self._end(connection, reason)

    def _end(self, connection: Connection, reason: str) -> None:
        self._connections.end(connection)
        if self._metrics is not None:
            self._metrics.zmq_connections_ended.labels(reason).inc()
