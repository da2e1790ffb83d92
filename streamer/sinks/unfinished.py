"""Ends TCP connections on which a ZeroMQ message comes that has no end.

libzmq keeps the parts of a message until its last one has come, and bounds neither their number
nor their bytes: ``MAXMSGSIZE`` is of one part, and a high-water mark counts whole messages. We
are shown whole messages only, but the kernel says how much it received on a connection.
"""

from __future__ import annotations

import asyncio
import os
import socket as sockets
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

CHECK_INTERVAL_S = 0.1
# The kernel's own buffer, which counts as received; as much again where it has to double it.
RECEIVE_BUFFER_BYTES = 1 << 18
# Linux, include/uapi/linux/tcp.h: tcpi_bytes_received of struct tcp_info, since 4.1.
_TCP_INFO_BYTES = 136
_BYTES_RECEIVED = struct.Struct("=128xQ")


@dataclass(slots=True)
class _Connection:
    """Its two ends, and what had been received when a message was last taken."""

    ends: object
    received_bytes: int
    has_finished: bool = False


class UnfinishedMessages:
    """Watches the connections of one bound socket. Bound: those that the socket has.

    A connection that received more than ``limit_bytes`` since a message was last taken from it is
    ended; an honest peer connects anew by itself. That is so over TCP on Linux: local sockets,
    which are for user and group alone, and other systems are not watched.
    """

    def __init__(
        self, socket: zmq.asyncio.Socket, limit_bytes: int, on_ended: Callable[[int], None]
    ) -> None:
        """Before ``socket`` is bound. ``on_ended`` is told how many bytes had come."""
        self._limit_bytes = limit_bytes + 2 * RECEIVE_BUFFER_BYTES
        self._on_ended = on_ended
        self._connections: dict[int, _Connection] = {}  # by libzmq's descriptor
        self._socket = socket
        socket.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)
        self._monitor = socket.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED
        )

    def finished(self, part: zmq.Frame) -> None:
        """A whole message was taken, of which this is a part."""
        try:
            connection = self._connections.get(int(part.get(zmq.SRCFD)))
        except zmq.ZMQError:  # it did not come over a connection
            return
        if connection is not None:
            connection.has_finished = True

    async def watch(self) -> None:
        """Look at all connections now and then, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            await self._take_events()
            for descriptor in tuple(self._connections):
                self._check(descriptor)

    def close(self) -> None:
        """Watch no more; before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    async def _take_events(self) -> None:
        while await self._monitor.poll(0):
            event = await recv_monitor_message(self._monitor)
            descriptor = int(event["value"])
            self._connections.pop(descriptor, None)
            if event["event"] != zmq.EVENT_ACCEPTED:
                continue
            connection = _connection_of(descriptor)
            if connection is not None:
                with connection, suppress(OSError):  # it is gone again
                    ends = _ends(connection)
                    if ends[0][1] == self._port():  # else the number is something else's now
                        self._connections[descriptor] = _Connection(ends, _received(connection))

    def _check(self, descriptor: int) -> None:
        known = self._connections.pop(descriptor)
        connection = _connection_of(descriptor)
        if connection is None:
            return
        with connection, suppress(OSError):  # it ended meanwhile
            if _ends(connection) != known.ends:  # the number is another connection's now
                return
            received_bytes = _received(connection)
            if known.has_finished:
                known.received_bytes, known.has_finished = received_bytes, False
            elif received_bytes - known.received_bytes > self._limit_bytes:
                connection.shutdown(sockets.SHUT_RDWR)
                self._on_ended(received_bytes - known.received_bytes)
                return
            self._connections[descriptor] = known

    def _port(self) -> int:
        return int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def _connection_of(descriptor: int) -> sockets.socket | None:
    """What libzmq knows by this number, by a number of our own: it stays the same while we look.

    None for what is no TCP connection, or not any more, and for systems that do not count.
    """
    if sys.platform != "linux":
        return None
    try:
        own = os.dup(descriptor)
    except OSError:
        return None
    try:
        connection = sockets.socket(fileno=own)
    except OSError:
        os.close(own)
        return None
    if connection.family not in (sockets.AF_INET, sockets.AF_INET6):
        connection.close()
        return None
    return connection


def _ends(connection: sockets.socket) -> tuple[tuple[object, ...], tuple[object, ...]]:
    return connection.getsockname(), connection.getpeername()


def _received(connection: sockets.socket) -> int:
    return received_bytes_of(
        connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _TCP_INFO_BYTES)
    )


def received_bytes_of(tcp_info: bytes) -> int:
    """Bytes since the connection began; 0 for ever where a kernel does not count them."""
    if len(tcp_info) < _TCP_INFO_BYTES:
        return 0
    (received_bytes,) = _BYTES_RECEIVED.unpack(tcp_info)
    return int(received_bytes)
