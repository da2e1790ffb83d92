"""The folder in which a daemon keeps its state: where it lies, and that nobody else uses it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from streamer.errors import ConfigError

AUTO = "auto"
NONE = "none"
_LOCK_FILE = "lock"


class FolderTakenError(ConfigError):
    """Another daemon keeps its state in this folder."""


def state_folder(
    state_directory: str, control_endpoint: str, environment: Mapping[str, str] = os.environ
) -> Path | None:
    """The folder for a daemon with this ``control.endpoint``; None: nothing is kept.

    ``auto`` is a folder of its own for each endpoint in the first of ``$STATE_DIRECTORY`` (set by
    systemd), ``$XDG_STATE_HOME/masklet`` and ``~/.local/state/masklet``. Raises ``ConfigError``
    where there is none of them.
    """
    if state_directory == NONE:
        return None
    if state_directory != AUTO:
        return Path(state_directory)
    if systemd := environment.get("STATE_DIRECTORY"):
        base = Path(systemd.partition(":")[0])
    elif home := environment.get("XDG_STATE_HOME"):
        base = Path(home) / "masklet"
    else:
        try:
            base = Path.home() / ".local" / "state" / "masklet"
        except RuntimeError:
            raise ConfigError(
                "state_directory: this user has no home folder; set state_directory to a folder, "
                "or to none"
            ) from None
    return base / f"daemon-{hashlib.sha256(control_endpoint.encode()).hexdigest()[:12]}"


class FolderLock:
    """Keeps other daemons out of a folder, from ``acquire`` until ``release`` or our end.

    An advisory lock of the kernel (flock): a killed process leaves none behind.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LOCK_FILE
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises ``FolderTakenError`` if another has it, ``ConfigError`` if it cannot be locked."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
        except BlockingIOError:
            raise FolderTakenError(
                f"state_directory: another daemon keeps its state in {self._path.parent}; stop "
                "it, or give this one another state_directory (or none)"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"state_directory: {self._path} cannot be locked ({error.strerror}); choose a "
                "folder on a local disk, or none"
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
