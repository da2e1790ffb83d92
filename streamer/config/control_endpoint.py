"""Where the daemon's control socket lies. Needs no more than the standard library."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from streamer.errors import ConfigError

LONGEST_PATH_BYTES = 107  # sun_path of unix(7), less its final zero


def default_control_endpoint() -> str:
    """The control socket of this user's daemon, in a folder that only this user may enter."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = (
        Path(runtime) / "masklet"
        if runtime
        else Path(tempfile.gettempdir()) / f"masklet-{os.getuid()}"
    )
    return f"ipc://{folder / 'control.sock'}"


def control_path(endpoint: str, key: str = "control.endpoint") -> Path:
    """The path in ``ipc:///PATH``. Raises ``ConfigError``, which begins with ``key``."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not path:
        raise ConfigError(
            f"{key} must be ipc:///PATH (a socket that only this machine and user reach), "
            f"got {endpoint!r}"
        )
    length = len(os.fsencode(path))
    if length > LONGEST_PATH_BYTES:
        raise ConfigError(
            f"{key} must be a path of at most {LONGEST_PATH_BYTES} bytes (a limit of Unix "
            f"sockets), got {length}"
        )
    return Path(path)
