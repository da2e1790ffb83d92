"""The Unix socket on which the API is served to the daemon's owner, without a token.

The socket file has mode 0600 in a folder with mode 0700: being able to open it is the permission.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from streamer.config.control_endpoint import control_path, default_places
from streamer.config.state_folder import control_link
from streamer.errors import ConfigError
from streamer.runtime.private_files import make_private_folder
from streamer.runtime.sockets import check_socket_path

# Bound: requests over it that are answered at once.
REQUESTS_AT_ONCE = 64


def control_socket(endpoint: str) -> socket.socket:
    """A socket that listens at ``endpoint`` (``ipc:///PATH``).

    One that a killed daemon left there is replaced. Raises ``ConfigError`` if another daemon
    listens there, or if others can enter the folder.
    """
    path = control_path(endpoint)
    if path.parent.is_symlink():
        raise ConfigError(
            f"control.endpoint: {path.parent} is a link, which commands do not follow; name the "
            "folder itself"
        )
    make_private_folder("control.endpoint", path.parent)
    check_socket_path(f"control.endpoint {endpoint}", path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        listening.listen()
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"control.endpoint: cannot listen at {endpoint} ({error.strerror})"
        ) from error
    listening.setblocking(False)
    if path in default_places():
        _leave_link(path)
    return listening


def control_places(endpoint: str) -> list[Path]:
    """Where a socket that was removed may be again: its own place, and of a default one the others,
    in which commands look too.
    """
    own = control_path(endpoint)
    others = default_places()
    return [own, *(path for path in others if path != own)] if own in others else [own]


def _leave_link(path: Path) -> None:
    """Let commands in other environments find the socket; without a writable home they look in
    the usual places only.
    """
    link = control_link()
    if link is None:
        return
    with contextlib.suppress(OSError):
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = link.with_name(f".{link.name}.{os.getpid()}")
        temporary.symlink_to(path)
        temporary.replace(link)
