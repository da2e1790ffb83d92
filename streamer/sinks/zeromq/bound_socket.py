"""The publisher's ZeroMQ socket with all that belongs to it: address, keys, watched connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import zmq
import zmq.asyncio

from streamer.config.schema import ZeroMQConfig
from streamer.runtime.sockets import notice_dead_peers
from streamer.runtime.threads import report_failure
from streamer.sinks.zeromq.bind import bind_socket, check_bind, is_ipv6
from streamer.sinks.zeromq.connections import Connections
from streamer.sinks.zeromq.curve_gate import CurveGate, make_gate
from streamer.sinks.zeromq.inbound_limit import InboundLimit
from streamer.sinks.zeromq.revoked_keys import RevokedKeys

CHECK_INTERVAL_S = 0.1


class BoundSocket:
    """An XPUB socket, used on the event loop: made, given options by ``socket``, bound, closed."""

    def __init__(self, config: ZeroMQConfig) -> None:
        """Not bound yet.

        Raises ``ConfigError`` for an impossible endpoint and ``SecurityError`` for one that is
        open to others without keys.
        """
        self._config = config
        self._is_encrypted = not (
            config.server_key_file is None and config.client_keys_directory is None
        )
        check_bind(config.endpoint, self._is_encrypted)
        self._context = zmq.asyncio.Context()
        self.socket: zmq.asyncio.Socket = self._context.socket(zmq.XPUB)
        self.socket.linger = config.linger_ms
        self.socket.setsockopt(zmq.IPV6, int(is_ipv6(config.endpoint)))
        notice_dead_peers(self.socket)
        self._connections = Connections(self.socket)
        self._inbound_limit = InboundLimit(self.socket, self._connections)
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
                self._revoked = RevokedKeys(self._connections, self._gate.allowed)
            bind_socket(self.socket, config.endpoint)
        except BaseException:
            await self.close()
            raise
        self._watching = asyncio.create_task(self._watch(), name="zeromq-watch")
        self._watching.add_done_callback(report_failure)

    def received(self, message: zmq.Frame) -> None:
        """Note which client a message came from."""
        self._connections.sender_of(message)

    async def close(self) -> None:
        """Release everything, once what was sent is gone or the linger time is over."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        self._connections.close()
        self.socket.close(linger=self._config.linger_ms)
        if self._gate is not None:
            self._gate.stop()
        await asyncio.to_thread(self._context.term)

    async def _watch(self) -> None:
        """Check every connection, again and again."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            self._connections.update()
            if self._revoked is not None:
                self._revoked.update(self._connections.keys)
            for connection, handle in self._connections.open():
                with suppress(OSError):  # it ended meanwhile
                    self._inbound_limit.check(connection, handle)
                if self._revoked is not None:
                    self._revoked.check(connection, handle)
