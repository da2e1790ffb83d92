"""Folders and files that other users of this machine must not read, or must not change."""

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


def why_readable(path: Path) -> str | None:
    """That every user of this machine can read a secret; None: not everyone can."""
    try:
        if not path.stat().st_mode & stat.S_IROTH:
            return None
    except OSError:
        return None  # reading it reports that
    return f"every user of this machine can read {path}; run `chmod o= {path}`"


def why_changeable(*paths: Path) -> str | None:
    """That every user of this machine can change one of these files or folders; None: of none."""
    for path in paths:
        try:
            is_open = bool(path.stat().st_mode & stat.S_IWOTH)
            # A container's secrets are mounted 01777, and read-only.
            is_open = is_open and not os.statvfs(path).f_flag & os.ST_RDONLY
        except OSError:
            continue  # reading it reports that
        if is_open:
            return f"every user of this machine can change {path}; run `chmod o-w {path}`"
    return None


def is_open_to_others(folder: Path) -> bool:
    """Whether other users can enter a folder, or own it. Raises ``OSError``."""
    found = folder.stat()
    return found.st_uid != os.getuid() or bool(stat.S_IMODE(found.st_mode) & 0o077)
