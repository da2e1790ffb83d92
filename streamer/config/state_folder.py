"""The folder in which a daemon keeps its state."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs

from streamer.errors import ConfigError

AUTO = "auto"
NONE = "none"


def state_folder(state_directory: str, control_endpoint: str) -> Path | None:
    """The folder for a daemon with this ``control.endpoint``; None: nothing is kept.

    ``auto`` is a folder of its own for each endpoint in the first of ``$STATE_DIRECTORY`` (set by
    systemd), ``$XDG_STATE_HOME/masklet`` and ``~/.local/state/masklet``. Raises ``ConfigError``
    where there is none of them.
    """
    if state_directory == NONE:
        return None
    if state_directory != AUTO:
        return Path(state_directory)
    if systemd := os.environ.get("STATE_DIRECTORY"):
        base = Path(systemd.partition(":")[0])
    else:
        try:
            base = platformdirs.user_state_path("masklet")
        except RuntimeError:
            raise ConfigError(
                "state_directory: this user has no home folder; set state_directory to a folder, "
                "or to none"
            ) from None
    return base / f"daemon-{hashlib.sha256(control_endpoint.encode()).hexdigest()[:12]}"
