"""The Unix socket on which the API is served to the daemon's owner, without a token.

The socket file has mode 0600 in a folder with mode 0700: being able to open it is the permission.
"""

from __future__ import annotations

import socket
import stat

from streamer.config.control_endpoint import control_path
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
    return listening
