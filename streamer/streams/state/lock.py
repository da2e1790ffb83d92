"""Keeps other daemons out of a state folder, by an advisory lock on a file in it."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from streamer.errors import ConfigError

_LOCK_FILE = "lock"


class FolderTakenError(ConfigError):
    """Another daemon keeps its state in this folder."""


class FolderLock:
    """The lock of a folder, from ``acquire`` until ``release`` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Acquired and released by different threads.
        self._lock = FileLock(folder / _LOCK_FILE, timeout=0, mode=0o600, thread_local=False)

    def acquire(self) -> None:
        """Raises ``FolderTakenError`` if another has it, ``ConfigError`` if it cannot be locked."""
        try:
            self._lock.acquire()
        except Timeout:
            raise FolderTakenError(
                f"state_directory: another daemon keeps its state in {self._folder}; stop it, or "
                "give this one another state_directory (or none)"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"state_directory: {self._folder / _LOCK_FILE} cannot be locked "
                f"({error.strerror}); choose a folder on a local disk, or none"
            ) from error

    def release(self) -> None:
        """Let other daemons in."""
        self._lock.release()
