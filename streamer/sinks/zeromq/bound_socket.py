"""A ZeroMQ socket that others connect to, with all that belongs to it, for results and boxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import zmq
import zmq.asyncio

from streamer.runtime.sockets import notice_dead_peers
from streamer.runtime.tasks import report_failure
from streamer.sinks.zeromq.bind import (
    bind_socket,
    check_bind,
    is_ipv6,
)
from streamer.sinks.zeromq.connections import Connections
from streamer.sinks.zeromq.curve_gate import (
    CurveGate,
    make_gate,
)
from streamer.sinks.zeromq.revoked_keys import RevokedKeys
from streamer.sinks.zeromq.unfinished import UnfinishedMessages

CHECK_INTERVAL_S = 0.1


class Bindable(Protocol):
    """The settings that say where a socket is bound, and who may connect."""

    endpoint: str
    server_key_file: str | None
    client_keys_directory: str | None


class BoundSocket:
    """Used on the event loop: made, given its options by ``socket``, bound, closed."""

    def __init__(
        self,
        kind: int,
        config: Bindable,
        section: str,
        *,
        linger_ms: int,
        message_bytes: int,
        unfinished_bytes: int,
        on_ended: Callable[[int], None],
    ) -> None:
        """Not bound yet. ``section`` is where it is configured.

        A message has parts of ``message_bytes`` at most; a connection that sends
        ``unfinished_bytes`` without a message that is taken (``finished``) is ended,
        and ``on_ended`` is told how many they were. Raises ``ConfigError`` for an impossible
        endpoint and ``SecurityError`` for one that is open to others without keys.
        """
        self._config = config
        self._section = section
        self._linger_ms = linger_ms
        self._is_encrypted = not (
            config.server_key_file is None and config.client_keys_directory is None
        )
        check_bind(config.endpoint, self._is_encrypted, section)
        self._context = zmq.asyncio.Context()
        self.socket: zmq.asyncio.Socket = self._context.socket(kind)
        self.socket.linger = linger_ms
        self.socket.setsockopt(zmq.MAXMSGSIZE, message_bytes)
        self.socket.setsockopt(zmq.IPV6, int(is_ipv6(config.endpoint)))
        notice_dead_peers(self.socket)
        self._connections = Connections(self.socket)
        self._unfinished = UnfinishedMessages(
            self.socket, self._connections, unfinished_bytes, on_ended
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
                    self._context,
                    self.socket,
                    config.server_key_file,
                    config.client_keys_directory,
                    self._section,
                )
                self._gate.start()
                self._revoked = RevokedKeys(self._connections, self._gate.allowed)
            bind_socket(self.socket, config.endpoint, self._section)
        except BaseException:
            await self.close()
            raise
        self._watching = asyncio.create_task(self._watch(), name=f"{self._section}-watch")
        self._watching.add_done_callback(report_failure)

    def took(self, part: zmq.Frame) -> None:
        """A part of a message was taken: now its client is known."""
        self._connections.sender_of(part)

    def finished(self, part: zmq.Frame) -> None:
        """A whole message was taken, of which this is a part."""
        connection = self._connections.sender_of(part)
        if connection is not None:
            connection.has_finished = True

    async def close(self) -> None:
        """Release everything, once what was sent is gone or the linger time is over."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        self._connections.close()
        self.socket.close(linger=self._linger_ms)
        if self._gate is not None:
            self._gate.stop()
        await asyncio.to_thread(self._context.term)

    async def _watch(self) -> None:
        """Look at all connections now and then."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            self._connections.update()
            if self._revoked is not None:
                self._revoked.look(self._connections.keys)
            for connection, handle in self._connections.open():
                with suppress(OSError):  # it ended meanwhile
                    self._unfinished.check(connection, handle)
                if self._revoked is not None:
                    self._revoked.check(connection, handle)
