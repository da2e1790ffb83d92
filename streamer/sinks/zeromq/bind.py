"""Where a ZeroMQ socket may bind: loopback and local sockets, and with CURVE keys anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import zmq
import zmq.asyncio

from streamer.errors import ConfigError, SecurityError
from streamer.runtime.sockets import check_socket_path, is_loopback, tcp_endpoint

LONGEST_SOCKET_PATH_BYTES = 107
IPC_MODE = 0o660


def check_bind(endpoint: str, encrypted: bool) -> None:
    """Refuse an endpoint that cannot be bound, or that others could read without keys.

    Raises ``ConfigError`` for an impossible endpoint and ``SecurityError`` for an open one; the
    message holds the command that makes keys.
    """
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc":
        _check_socket_path(f"zeromq.endpoint {endpoint}", rest)
        return
    if scheme == "inproc" and rest:
        return
    address = tcp_endpoint(endpoint)
    if address is None:
        raise ConfigError(
            f"zeromq.endpoint must be tcp://HOST:PORT or ipc:///PATH, got {endpoint!r}"
        )
    if not encrypted and not is_loopback(address[0]):
        raise SecurityError(
            f"zeromq.endpoint {endpoint} can be reached from other machines without "
            "authentication. Make keys with `masklet keys KEYS --client NAME` and "
            f"set zeromq.server_key_file=KEYS/server.key_secret and "
            "zeromq.client_keys_directory=KEYS/clients, or bind "
            f"tcp://127.0.0.1:{address[1] or '*'}"
        )


def bind_socket(socket: zmq.asyncio.Socket, endpoint: str) -> None:
    """Bind an endpoint that passed ``check_bind``; a Unix socket is for user and group alone.

    Raises ``ConfigError`` for an address that is in use or unavailable.
    """
    is_ipc = endpoint.startswith("ipc://")
    # The socket file must not be open to others between its creation and the chmod.
    previous_umask = os.umask(0o077) if is_ipc else None
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(
            f"zeromq.endpoint {endpoint} cannot be bound: {error.strerror}; stop what "
            "listens there or choose another endpoint"
        ) from error
    finally:
        if previous_umask is not None:
            os.umask(previous_umask)
    if is_ipc:
        Path(endpoint.removeprefix("ipc://")).chmod(IPC_MODE)


def is_ipv6(endpoint: str) -> bool:
    """Whether the endpoint is an IPv6 address, which is an option of ZeroMQ's."""
    return endpoint.startswith("tcp://[")


def _check_socket_path(named: str, path_text: str) -> None:
    path = Path(path_text)
    if not path.is_absolute():
        raise ConfigError(f"{named}: an ipc:// endpoint needs an absolute path")
    length = len(path_text.encode())
    if length > LONGEST_SOCKET_PATH_BYTES:
        raise ConfigError(
            f"{named}: the path has {length} bytes, a Unix socket's may have "
            f"{LONGEST_SOCKET_PATH_BYTES}"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"{named}: the folder {path.parent} does not exist")
    check_socket_path(named, path)
