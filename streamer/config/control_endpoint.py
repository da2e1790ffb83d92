"""Where the daemon's control socket lies, and how its owner's commands find it.

A daemon takes the first place of ``default_places`` that is this user's alone. A command looks at
all of them, and follows the link that the daemon leaves beside its state: it may have been started
from a terminal, by cron or over ssh, with other variables. Needs only the standard library.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from streamer.errors import ConfigError, SecurityError

LONGEST_PATH_BYTES = 107  # sun_path of unix(7), less its final zero
SOCKET = "control.sock"
_PROBE_TIMEOUT_S = 1.0


def default_control_endpoint() -> str:
    """The control socket of this user's daemon: the first usable place, or the last."""
    places = default_places()
    path = next((each for each in places if why_not(each.parent) is None), places[-1])
    return f"ipc://{path}"


def default_places() -> list[Path]:
    """The control sockets that this environment suggests, the preferred one first."""
    folders = [Path("/tmp") / f"masklet-{os.getuid()}"]
    if temporary := os.environ.get("TMPDIR"):
        folders.insert(0, Path(temporary) / f"masklet-{os.getuid()}")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        folders.insert(0, Path(runtime) / "masklet")
    return [
        folder / SOCKET
        for folder in folders
        if folder.is_absolute() and len(os.fsencode(folder / SOCKET)) <= LONGEST_PATH_BYTES
    ]


def passed_over(endpoint: str) -> list[str]:
    """Why the default places before ``endpoint`` are not used; empty for any other endpoint."""
    found: list[str] = []
    for path in default_places():
        if endpoint == f"ipc://{path}":
            return found
        found.append(f"{path.parent} is passed over: {why_not(path.parent)}")
    return []


def running_control_endpoint(link: Path | None = None) -> str:
    """The control socket of this user's running daemon; if none runs, one that cannot be trusted,
    which ``trusted_control_path`` explains, or else the default one.

    ``link`` is the daemon's own, see ``control_link`` of ``state_folder``.
    """
    for endpoint in running_control_endpoints(link):
        return endpoint
    for path in default_places():
        if os.path.lexists(path) and why_foreign(path.parent) is not None:
            return f"ipc://{path}"
    return default_control_endpoint()


def running_control_endpoints(link: Path | None = None) -> Iterator[str]:
    """The control sockets of this user's running daemons, the one of this environment first."""
    elsewhere = [Path(f"/run/user/{os.getuid()}/masklet") / SOCKET]
    if link is not None:
        elsewhere.append(Path(os.path.realpath(link)))
    found = set()
    for path in (*default_places(), *elsewhere):
        real = os.path.realpath(path)
        if real not in found and why_foreign(path.parent) is None and is_served(path):
            found.add(real)
            yield f"ipc://{path}"


def is_served(path: Path) -> bool:
    """Whether a process listens at a socket; a left-over file does not count."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_PROBE_TIMEOUT_S)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def why_not(folder: Path) -> str | None:
    """Why a daemon cannot keep its control socket in ``folder``; None: it can."""
    try:
        if folder.is_dir() or folder.is_symlink():
            reason = why_foreign(folder)
            is_writable = os.access(folder, os.W_OK | os.X_OK)
            return reason or (None if is_writable else "it cannot be written")
        above = folder.parent
        found = above.stat()
    except OSError as error:
        return f"it cannot be used ({error.strerror})"
    # In a sticky folder (/tmp) others cannot exchange what we make.
    if found.st_uid != os.getuid() and not found.st_mode & stat.S_ISVTX:
        return f"{above} belongs to user {found.st_uid}"
    if not stat.S_ISDIR(found.st_mode) or not os.access(above, os.W_OK | os.X_OK):
        return f"{above} cannot be written"
    return None


def why_foreign(folder: Path) -> str | None:
    """Why a socket in ``folder`` may be another user's; None: only this user could make it."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"it cannot be entered ({error.strerror})"
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode):
        return "it is a link" if stat.S_ISLNK(found.st_mode) else "it is no folder"
    if found.st_uid != os.getuid():
        return f"it belongs to user {found.st_uid}"
    return f"others can enter it (mode {mode:04o})" if mode & 0o077 else None


def trusted_control_path(endpoint: str, key: str) -> Path:
    """The path in ``ipc:///PATH`` for a client: only where the daemon would listen.

    Raises ``ConfigError``, and ``SecurityError`` for a folder that is not this user's alone: who
    listens there would receive the addresses of cameras, passwords included.
    """
    path = control_path(endpoint, key)
    if (reason := why_foreign(path.parent)) is not None:
        raise SecurityError(
            f"{key}: {endpoint} is not trusted: {path.parent} must be a folder of this user alone, "
            f"and {reason}; become the daemon's user (sudo -u NAME masklet …), or give --url and a "
            "token"
        )
    return path


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
