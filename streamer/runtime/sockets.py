"""Sockets: loopback addresses, whom an address counts for, Unix socket paths, dead peers."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

import zmq

from streamer.errors import ConfigError

_PROBE_TIMEOUT_S = 1.0
IDLE_S = 10
INTERVAL_S = 5
PROBES = 3
_TCP = re.compile(r"tcp://(\[[^\[\]]+\]|[^\[\]:;/\s]+):([0-9]{1,5}|\*)")


def notice_dead_peers(zmq_socket: zmq.Socket[Any]) -> None:
    """Let TCP end a silent connection after 25 s without an answer; before bind or connect.

    Not ZeroMQ's own heartbeats (``HEARTBEAT_IVL``): with them libzmq 4.3.5 aborts the process of
    a consumer that stops reading for a few seconds
    (https://github.com/zeromq/libzmq/issues/3937).
    """
    zmq_socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    zmq_socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, IDLE_S)
    zmq_socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, INTERVAL_S)
    zmq_socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, PROBES)


def tcp_endpoint(endpoint: str) -> tuple[str, int] | None:
    """Host, without brackets, and port of a ZeroMQ endpoint ``tcp://HOST:PORT``; else None.

    Port 0 stands for ``*`` too: any free port.
    """
    found = _TCP.fullmatch(endpoint)
    if found is None:
        return None
    return found[1].strip("[]"), 0 if found[2] == "*" else int(found[2])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener at ``host``; a name other than localhost may
    lead anywhere.
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=4096)  # asked for every open connection as each new one comes
def client_of(address: str) -> str:
    """The unit that limits apply to: an IPv4 address, or an IPv6 host's whole /64 network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def why_no_listener(host: str, port: int) -> str | None:
    """Why nothing can listen on ``port`` of ``host`` (``*``: every address); None: it is free.

    One of several addresses that this machine does not have is no obstacle.
    """
    name = None if host in ("", "*") else host
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    reason = None
    is_free = False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family is socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(address)
                is_free = True
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EADDRINUSE:
                return reason
    return None if is_free else reason


def check_socket_path(key: str, path: Path) -> None:
    """Refuse a path that is in use: binding removes whatever is there.

    A socket without a listener may be replaced. Raises ``ConfigError``, which begins
    with ``key``.
    """
    try:
        if not path.exists():
            return
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigError(f"{key}: there is something else than a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_TIMEOUT_S)
            probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        return  # of a process that is gone, or removed meanwhile
    except OSError as error:
        raise ConfigError(f"{key}: cannot be used: {error.strerror or error}") from error
    raise ConfigError(
        f"{key}: another process listens there; stop it or choose another path for this one"
    )
