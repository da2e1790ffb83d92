"""Ends TCP connections on which a consumer sends too much: consumers only subscribe.

libzmq keeps the parts of a message until its last one has arrived, and bounds neither their number
nor their bytes: ``MAXMSGSIZE`` is of one part, and a high-water mark counts whole messages. It
shows us whole messages only, but the kernel reports how much it received on a connection.
"""

from __future__ import annotations

import logging
import socket as sockets
import struct

import zmq
import zmq.asyncio

from streamer.sinks.zeromq.connections import Connection, Connections

# A subscription is a byte and a topic; a longer message ends its connection.
MESSAGE_LIMIT_BYTES = 1024
# Of one connection, as long as it lasts: some 300,000 subscriptions.
CONNECTION_LIMIT_BYTES = 1 << 24
# The kernel's own buffer, which counts as received; as much again where it has to double it.
RECEIVE_BUFFER_BYTES = 1 << 18
# Linux, include/uapi/linux/tcp.h: tcpi_bytes_received of struct tcp_info, since 4.1.
_TCP_INFO_BYTES = 136
_BYTES_RECEIVED = struct.Struct("=128xQ")
_log = logging.getLogger(__name__)


class InboundLimit:
    """Judges the connections of one bound socket; an honest peer connects anew by itself."""

    def __init__(self, socket: zmq.asyncio.Socket, connections: Connections) -> None:
        """``socket`` is not bound yet."""
        self._connections = connections
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_LIMIT_BYTES)
        socket.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)

    def check(self, connection: Connection, handle: sockets.socket) -> None:
        """End the connection if it received too much. Raises ``OSError`` if it just ended."""
        received_bytes = _received(handle)
        if received_bytes > CONNECTION_LIMIT_BYTES + 2 * RECEIVE_BUFFER_BYTES:
            self._connections.end(connection, handle)
            _log.warning(
                "a consumer that sent %d bytes was disconnected: consumers only subscribe",
                received_bytes,
            )


def _received(handle: sockets.socket) -> int:
    return received_bytes_of(
        handle.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _TCP_INFO_BYTES)
    )


def received_bytes_of(tcp_info: bytes) -> int:
    """Bytes since the connection began; always 0 where the kernel does not count them."""
    if len(tcp_info) < _TCP_INFO_BYTES:
        return 0
    (received_bytes,) = _BYTES_RECEIVED.unpack(tcp_info)
    return int(received_bytes)
