"""Noticing that the machine at the other end of a ZeroMQ connection is gone."""

from __future__ import annotations

from typing import Any

import zmq

IDLE_S = 10
INTERVAL_S = 5
PROBES = 3


def notice_dead_peers(socket: zmq.Socket[Any]) -> None:
    """Let TCP end a silent connection after 25 s without an answer; before bind or connect.

    Not ZeroMQ's own heartbeats (``HEARTBEAT_IVL``): with them libzmq 4.3.5 aborts the process of
    a consumer that does not read for a few seconds and then goes on
    (https://github.com/zeromq/libzmq/issues/3937).
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, INTERVAL_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, PROBES)
