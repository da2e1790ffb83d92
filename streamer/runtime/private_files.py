"""Folders for files that only this user may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from streamer.errors import ConfigError


def make_private_folder(key: str, folder: Path) -> None:
    """Make ``folder`` with mode 0700; one that is there must be this user's alone.

    Raises ``ConfigError``, which begins with ``key``.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        is_open = is_open_to_others(folder)
    except OSError as error:
        raise ConfigError(
            f"{key}: {folder} cannot be a folder for it ({error.strerror}); choose another path"
        ) from error
    if is_open:
        raise ConfigError(
            f"{key}: others can enter {folder} (mode {stat.S_IMODE(found.st_mode):04o}, owner "
            f"{found.st_uid}); run `chmod 700 {folder}` or choose a folder of your own"
        )


def is_open_to_others(folder: Path) -> bool:
    """Whether other users can enter a folder, or own it. Raises ``OSError``."""
    found = folder.stat()
    return found.st_uid != os.getuid() or bool(stat.S_IMODE(found.st_mode) & 0o077)
