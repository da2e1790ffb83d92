"""The TCP connections of a bound ZeroMQ socket, one by one: libzmq itself exposes messages only.

libzmq's monitor reports the file descriptor of each connection, and so does every message. A
duplicate of the descriptor lets us query the kernel about the connection, or end it; libzmq has no
call for that.
"""

from __future__ import annotations

import os
import socket as sockets
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

# Set by pyzmq's answer to ZAP (ZeroMQ RFC 27): of a CURVE client its public key as Z85.
_USER_ID = "User-Id"


@dataclass(slots=True, eq=False)
class Connection:
    """An open connection. ``key`` is its client's CURVE key, once the client sent something."""

    descriptor: int
    ends: object
    key: bytes | None = None


class Connections:
    """The connections of one socket as of the last ``update``. Bound: those that the socket has.

    TCP on Linux only: Unix sockets, which are for user and group alone, and other systems show
    none. Events wait in libzmq's own queue, 1000 on either side; then its thread blocks, so call
    ``update`` from the bind on.
    """

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        """Before ``socket`` is bound."""
        self._socket = socket
        self._by_descriptor: dict[int, Connection] = {}
        self._monitor = socket.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED
        )
        self._events: zmq.Socket[bytes] = zmq.Socket.shadow(self._monitor.underlying)

    def sender_of(self, message: zmq.Frame) -> None:
        """Note the key of the client that sent a message."""
        try:
            descriptor = int(message.get(zmq.SRCFD))
        except zmq.ZMQError:  # it did not come over a connection
            return
        if descriptor not in self._by_descriptor:  # its first message: the connection may be new
            self.update()
        connection = self._by_descriptor.get(descriptor)
        if connection is not None:
            # Every time: the descriptor may have been another connection's at the previous message.
            with suppress(zmq.ZMQError):  # no encryption
                connection.key = str(message.get(_USER_ID)).encode()

    @property
    def keys(self) -> frozenset[bytes]:
        """The keys of the clients that sent something."""
        return frozenset(each.key for each in self._by_descriptor.values() if each.key is not None)

    def update(self) -> None:
        """Process the monitor's events. Never waits."""
        while self._events.poll(0):
            event = recv_monitor_message(self._events)
            descriptor = int(event["value"])
            self._by_descriptor.pop(descriptor, None)
            if event["event"] != zmq.EVENT_ACCEPTED:
                continue
            handle = _handle_of(descriptor)
            if handle is not None:
                with handle, suppress(OSError):  # it is gone again
                    ends = _ends(handle)
                    if ends[0][1] == self._port():  # else the descriptor was reused
                        self._by_descriptor[descriptor] = Connection(descriptor, ends)

    def open(self) -> Iterator[tuple[Connection, sockets.socket]]:
        """Every open connection, with a socket for the kernel that is closed after each step."""
        for connection in tuple(self._by_descriptor.values()):
            handle = _handle_of(connection.descriptor)
            if handle is None:
                self._forget(connection)
                continue
            with handle:
                try:
                    lives = _ends(handle) == connection.ends
                except OSError:
                    lives = False
                if lives:  # else the descriptor was reused
                    yield connection, handle
                else:
                    self._forget(connection)

    def end(self, connection: Connection, handle: sockets.socket) -> None:
        """End a connection for both sides."""
        self._forget(connection)
        with suppress(OSError):  # it ended by itself
            handle.shutdown(sockets.SHUT_RDWR)

    def close(self) -> None:
        """Watch no more; before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _forget(self, connection: Connection) -> None:
        if self._by_descriptor.get(connection.descriptor) is connection:
            del self._by_descriptor[connection.descriptor]

    def _port(self) -> int:
        return int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def _handle_of(descriptor: int) -> sockets.socket | None:
    """A duplicate of libzmq's descriptor, which cannot be reused while we hold it.

    None for anything but an open TCP connection, and on systems other than Linux.
    """
    if sys.platform != "linux":
        return None
    try:
        own = os.dup(descriptor)
    except OSError:
        return None
    try:
        handle = sockets.socket(fileno=own)
    except OSError:
        os.close(own)
        return None
    if handle.family not in (sockets.AF_INET, sockets.AF_INET6):
        handle.close()
        return None
    return handle


def _ends(handle: sockets.socket) -> tuple[tuple[object, ...], tuple[object, ...]]:
    return handle.getsockname(), handle.getpeername()
