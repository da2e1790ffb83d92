"""Ends TCP connections on which a ZeroMQ message comes that has no end.

libzmq keeps the parts of a message until its last one has come, and bounds neither their number
nor their bytes: ``MAXMSGSIZE`` is of one part, and a high-water mark counts whole messages. We
are shown whole messages only, but the kernel says how much it received on a connection.
"""

from __future__ import annotations

import socket as sockets
import struct
from collections.abc import Callable

import zmq
import zmq.asyncio

from streamer.sinks.zeromq.connections import (
    Connection,
    Connections,
)

# The kernel's own buffer, which counts as received; as much again where it has to double it.
RECEIVE_BUFFER_BYTES = 1 << 18
# Linux, include/uapi/linux/tcp.h: tcpi_bytes_received of struct tcp_info, since 4.1.
_TCP_INFO_BYTES = 136
_BYTES_RECEIVED = struct.Struct("=128xQ")


class UnfinishedMessages:
    """Judges the connections of one bound socket.

    A connection that received more than ``limit_bytes`` since a message was last taken from it is
    ended; an honest peer connects anew by itself.
    """

    def __init__(
        self,
        socket: zmq.asyncio.Socket,
        connections: Connections,
        limit_bytes: int,
        on_ended: Callable[[int], None],
    ) -> None:
        """Before ``socket`` is bound. ``on_ended`` is told how many bytes had come."""
        self._connections = connections
        self._limit_bytes = limit_bytes + 2 * RECEIVE_BUFFER_BYTES
        self._on_ended = on_ended
        socket.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)

    def check(self, connection: Connection, handle: sockets.socket) -> None:
        """End the connection if it is one of those. Raises ``OSError`` if it just ended."""
        received_bytes = _received(handle)
        if connection.has_finished:
            connection.counted_bytes, connection.has_finished = received_bytes, False
        elif received_bytes - connection.counted_bytes > self._limit_bytes:
            self._connections.end(connection, handle)
            self._on_ended(received_bytes - connection.counted_bytes)


def _received(handle: sockets.socket) -> int:
    return received_bytes_of(
        handle.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _TCP_INFO_BYTES)
    )


def received_bytes_of(tcp_info: bytes) -> int:
    """Bytes since the connection began; 0 for ever where a kernel does not count them."""
    if len(tcp_info) < _TCP_INFO_BYTES:
        return 0
    (received_bytes,) = _BYTES_RECEIVED.unpack(tcp_info)
    return int(received_bytes)
