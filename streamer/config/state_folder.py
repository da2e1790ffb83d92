"""The folders in which a daemon keeps its state, and caches."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs

from streamer.config.control_endpoint import default_places
from streamer.config.state_address import is_address
from streamer.errors import ConfigError

AUTO = "auto"
NONE = "none"


def state_folder(state_directory: str, control_endpoint: str) -> Path | None:
    """The folder for a daemon with this ``control.endpoint``; None: nothing is kept, or it is kept
    at an address.

    ``auto`` is the folder ``daemon`` of ``state_home`` for the daemon at a default endpoint,
    wherever this environment puts that, and a folder of its own for each other endpoint. Raises
    ``ConfigError`` where there is no such home.
    """
    if state_directory == NONE or is_address(state_directory):
        return None
    if state_directory != AUTO:
        return Path(state_directory)
    home = state_home()
    if home is None:
        raise ConfigError(
            "state_directory: this user has no home folder; set state_directory to a folder, or "
            "to none"
        )
    if control_endpoint in (f"ipc://{path}" for path in default_places()):
        return home / "daemon"
    return home / f"daemon-{hashlib.sha256(control_endpoint.encode()).hexdigest()[:12]}"


def state_home() -> Path | None:
    """Where this user's daemons keep state: the first of ``$STATE_DIRECTORY`` (set by systemd),
    ``$XDG_STATE_HOME/masklet`` and ``~/.local/state/masklet``; None without a home.
    """
    if systemd := os.environ.get("STATE_DIRECTORY"):
        return Path(systemd.partition(":")[0])
    try:
        return platformdirs.user_state_path("masklet")
    except RuntimeError:
        return None


def cache_folder() -> Path | None:
    """Where this user's daemons keep what only saves time: ``$CACHE_DIRECTORY`` (set by systemd),
    ``$XDG_CACHE_HOME/masklet`` or ``~/.cache/masklet``; None without a home.
    """
    if systemd := os.environ.get("CACHE_DIRECTORY"):
        return Path(systemd.partition(":")[0])
    try:
        return platformdirs.user_cache_path("masklet")
    except RuntimeError:
        return None


def control_link() -> Path | None:
    """The link to the control socket of this user's daemon, for commands in other environments."""
    home = state_home()
    return home and home / "control.sock"
