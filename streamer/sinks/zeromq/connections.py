"""The TCP connections of a bound ZeroMQ socket, one by one: libzmq itself exposes messages only.

libzmq's monitor reports the file descriptor of each connection, and so does every message. A
handle of our own on the descriptor lets us query the kernel about the connection, or end it;
libzmq has no call for that.
"""

from __future__ import annotations

import socket as sockets
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from streamer.runtime.sockets import client_of
from streamer.sinks.zeromq.spare_descriptor import SpareDescriptor

# Set by pyzmq's answer to ZAP (ZeroMQ RFC 27): of a CURVE client its public key as Z85.
_USER_ID = "User-Id"
# struct linger of socket(7): on, for 0 s.
_NO_LINGERING = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class Connection:
    """An open connection. ``key`` is its client's CURVE key, once the client sent something."""

    descriptor: int
    ends: object
    # Whom it counts for: an IPv4 address, or an IPv6 network.
    address: str
    key: bytes | None = None
    # Of whole messages, which are subscriptions.
    message_bytes: int = 0


class Connections:
    """The connections of one socket as of the last ``update``, oldest first.

    Bound: those that the socket has, which ``ConnectionLimit`` bounds. TCP on Linux only: Unix
    sockets, which are for user and group alone, and other systems show none. Events wait in
    libzmq's own queue, 1000 on either side; then its thread blocks, so call ``update`` from the
    bind on.
    """

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        """Before ``socket`` is bound."""
        self._socket = socket
        self._spare = SpareDescriptor()
        self._bound_port: int | None = None
        self._by_descriptor: dict[int, Connection] = {}
        self._monitor = socket.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED
        )
        self._events: zmq.Socket[bytes] = zmq.Socket.shadow(self._monitor.underlying)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._by_descriptor.values()))

    def sender_of(self, message: zmq.Frame) -> Connection | None:
        """The connection a message came over, with the client's key; the message is counted."""
        try:
            descriptor = int(message.get(zmq.SRCFD))
        except zmq.ZMQError:  # it did not come over a connection
            return None
        if descriptor not in self._by_descriptor:  # its first message: the connection may be new
            self.update()
        connection = self._by_descriptor.get(descriptor)
        if connection is not None:
            connection.message_bytes += len(message)
            # Every time: the descriptor may have been another connection's at the previous message.
            with suppress(zmq.ZMQError):  # no encryption
                connection.key = str(message.get(_USER_ID)).encode()
        return connection

    @property
    def keys(self) -> frozenset[bytes]:
        """The keys of the clients that sent something."""
        return frozenset(each.key for each in self._by_descriptor.values() if each.key is not None)

    async def wait(self, timeout_s: float) -> None:
        """Until a connection began or ended, or the time is over."""
        await self._monitor.poll(int(timeout_s * 1000))

    def update(self) -> None:
        """Process the monitor's events. Never waits."""
        while self._events.poll(0):
            event = recv_monitor_message(self._events)
            descriptor = int(event["value"])
            self._by_descriptor.pop(descriptor, None)
            if event["event"] != zmq.EVENT_ACCEPTED:
                continue
            with self._spare.handle(descriptor) as handle, suppress(OSError):  # it is gone again
                if handle is None:
                    continue
                ends = _ends(handle)
                if ends[0][1] == self.port():  # else the descriptor was reused
                    self._by_descriptor[descriptor] = Connection(
                        descriptor, ends, client_of(str(ends[1][0]))
                    )

    def open(self) -> Iterator[tuple[Connection, sockets.socket]]:
        """Every open connection, with a handle for the kernel that is taken back after each."""
        for connection in self:
            with self._handle(connection) as handle:
                if handle is not None:
                    yield connection, handle

    def end(self, connection: Connection) -> None:
        """End a connection for both sides."""
        with self._handle(connection) as handle, suppress(OSError):  # it ended by itself
            if handle is not None:
                reset(handle)
        self._forget(connection)

    def close(self) -> None:
        """Watch no more; before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._spare.close()

    @contextmanager
    def _handle(self, connection: Connection) -> Iterator[sockets.socket | None]:
        """A handle of an open connection; one that is over, or whose descriptor was reused, has
        none and is forgotten.
        """
        with self._spare.handle(connection.descriptor) as handle:
            lives = False
            with suppress(OSError):
                lives = handle is not None and _ends(handle) == connection.ends
            if not lives:
                self._forget(connection)
            yield handle if lives else None

    def _forget(self, connection: Connection) -> None:
        if self._by_descriptor.get(connection.descriptor) is connection:
            del self._by_descriptor[connection.descriptor]

    def port(self) -> int:
        """Where the socket is bound. Asked for once: a proxy's is another thread's from then on."""
        if self._bound_port is None:
            endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
            self._bound_port = int(endpoint.rpartition(":")[2])
        return self._bound_port


def reset(handle: sockets.socket) -> None:
    """End a connection on both sides at once, whatever is still under way. Raises ``OSError``.

    Whoever holds it closes it, woken by ``shutdown``; without lingering that sends RST.
    ``shutdown`` alone tells a client nothing whose window was full: the kernel then opens it no
    more, and answers its probes for a minute (FIN-WAIT-2).
    """
    handle.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _NO_LINGERING)
    handle.shutdown(sockets.SHUT_RDWR)


def _ends(handle: sockets.socket) -> tuple[tuple[object, ...], tuple[object, ...]]:
    return handle.getsockname(), handle.getpeername()
