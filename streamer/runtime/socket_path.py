"""Unix socket paths: what may lie where ZeroMQ is about to bind."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from streamer.errors import ConfigError

_PROBE_TIMEOUT_S = 1.0


def check_socket_path(key: str, path: Path) -> None:
    """Refuse a path that is in use: ZeroMQ removes whatever lies there before it binds.

    A socket that nobody listens on any more may be replaced. Raises ``ConfigError``, which begins
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
        return  # left behind by a process that is gone, or removed meanwhile
    except OSError as error:
        raise ConfigError(f"{key}: cannot be used: {error.strerror or error}") from error
    raise ConfigError(
        f"{key}: another process listens there; stop it or choose another path for this one"
    )
