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

from streamer.sinks.zeromq.connections import Connection

# A subscription is a byte and a topic, and CURVE shakes hands with some 300 bytes; a longer message
# ends its connection.
MESSAGE_LIMIT_BYTES = 1024
# The kernel's own buffer: what arrives between two checks is about as much again and again.
RECEIVE_BUFFER_BYTES = 1 << 16
# Linux, include/uapi/linux/tcp.h: tcpi_bytes_received of struct tcp_info, since 4.1.
_TCP_INFO_BYTES = 136
_BYTES_RECEIVED = struct.Struct("=128xQ")
_log = logging.getLogger(__name__)


def limit_inbound(socket: zmq.asyncio.Socket) -> None:
    """Give a socket that is not bound yet libzmq's own bounds."""
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_LIMIT_BYTES)
    socket.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)


def sent_too_much(connection: Connection, handle: sockets.socket | None, limit_bytes: int) -> bool:
    """Whether a connection is to be ended: by its whole messages, and by what the kernel counts if
    there is a handle. Raises ``OSError`` if it just ended.

    ``limit_bytes`` is of one connection, as long as it lasts (``zeromq.subscription_kib``): 128 KiB
    are some 2,000 subscriptions, of which libzmq keeps 25 times their bytes. Whoever needs more
    connects anew, as libzmq does by itself.
    """
    sent_bytes = connection.message_bytes if handle is None else received_bytes(handle)
    if sent_bytes <= limit_bytes:
        return False
    _log.warning(
        "a consumer that sent %d bytes was disconnected: consumers only subscribe", sent_bytes
    )
    return True


def received_bytes(handle: sockets.socket) -> int:
    """What the kernel received on a connection. Raises ``OSError`` if it just ended."""
    return received_bytes_of(
        handle.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _TCP_INFO_BYTES)
    )


def received_bytes_of(tcp_info: bytes) -> int:
    """Bytes since the connection began; always 0 where the kernel does not count them."""
    if len(tcp_info) < _TCP_INFO_BYTES:
        return 0
    (received_bytes,) = _BYTES_RECEIVED.unpack(tcp_info)
    return int(received_bytes)
