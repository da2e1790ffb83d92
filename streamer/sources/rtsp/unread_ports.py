"""UDP ports for the tracks that a camera sends and nothing reads."""

from __future__ import annotations

import socket

_MAX_ATTEMPTS = 20


def unread_ports(connection: socket.socket) -> list[socket.socket] | None:
    """Sockets on two ports in a row, at our end of ``connection``; None if there are none.

    The kernel drops what does not fit into their buffers.
    """
    own = connection.getsockname()
    for _ in range(_MAX_ATTEMPTS):
        pair: list[socket.socket] = []
        try:
            for _ in range(2):
                port = pair[0].getsockname()[1] + 1 if pair else 0
                pair.append(socket.socket(connection.family, socket.SOCK_DGRAM))
                pair[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the least
                pair[-1].bind((own[0], port, *own[2:]))
        except (OSError, OverflowError):
            for each in pair:
                each.close()
        else:
            return pair
    return None
