"""Where fenced files lie: a folder (also on NFS), or a bucket of an object store by ``fsspec``.

A write is whole or not there at all: in a folder by a rename, in a bucket because its store shows
an object only once it is complete. The configuration refuses other stores.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from streamer.config.state_address import StateAddress
from streamer.errors import ConfigError
from streamer.runtime.private_files import make_private_folder
from streamer.runtime.redaction import redact

WRITING = ".writing"  # the end of a name while its file is written
# The caller retries later by itself.
_S3_CLIENT = {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 1}}
_PACKAGES = {"s3": "masklet[fleet]", "gs": "gcsfs", "az": "adlfs"}


class Place(Protocol):
    """Folders of small files. Not for the event loop: every method waits for the store.

    Paths are ``FOLDER/…/NAME``. Every method raises ``OSError`` if the store refuses or cannot be
    reached, ``FileNotFoundError`` for a file that is not there.
    """

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, files and folders; nothing if there is no such folder."""
        ...

    def read(self, path: str, maximum_bytes: int) -> bytes:
        """A file's content. Raises ``ValueError`` for one that is larger."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Make or replace a file, completely or not at all."""
        ...

    def copy(self, path: str, to: str) -> None:
        """Copy a file."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        ...

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with everything in it, if it is there."""
        ...


def place_at(address: StateAddress) -> Place:
    """The place at an address. Raises ``ConfigError`` if it, or its package, cannot be used."""
    if address.kind == "file":
        make_private_folder("state_directory", Path(address.path))
        return FolderPlace(Path(address.path))
    return BucketPlace(address)


class FolderPlace:
    """A folder of the file system, of mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self._folder / folder)
        except FileNotFoundError:
            # The place itself is there, or the store is away (an unmounted disk).
            os.stat(self._folder)
            return []

    def read(self, path: str, maximum_bytes: int) -> bytes:
        with (self._folder / path).open("rb") as file:
            content = file.read(maximum_bytes + 1)
        _check_size(len(content), maximum_bytes)
        return content

    def write(self, path: str, content: bytes) -> None:
        self._make_folder_of(path)
        write_whole(self._folder / path, content)

    def copy(self, path: str, to: str) -> None:
        self._make_folder_of(to)
        shutil.copy2(self._folder / path, self._folder / to)

    def remove(self, path: str) -> None:
        (self._folder / path).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        found = self._folder / folder
        if found.exists():
            shutil.rmtree(found)

    def _make_folder_of(self, path: str) -> None:
        """Not the place itself: that is gone where a disk is not mounted any more."""
        at = self._folder
        for name in Path(path).parent.parts:
            at /= name
            at.mkdir(mode=0o700, exist_ok=True)


class BucketPlace:
    """A prefix in a bucket. Credentials and endpoint come from the store's own environment."""

    def __init__(self, address: StateAddress) -> None:
        try:
            import fsspec

            # No cache: another machine writes there too.
            options: dict[str, Any] = {"use_listings_cache": False}
            if address.kind == "s3":
                options["config_kwargs"] = _S3_CLIENT
            self._files = fsspec.filesystem(address.kind, **options)
        except ImportError as error:
            package = _PACKAGES[address.kind]
            raise ConfigError(
                f"state_directory: {address.kind}:// needs a package that is not here "
                f"({error.name or error}): pip install '{package}'"
            ) from None
        self._prefix = address.path

    def names(self, folder: str) -> list[str]:
        with _as_os_error():
            try:
                found = self._files.ls(f"{self._prefix}/{folder}", detail=False)
            except FileNotFoundError:
                return []
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def read(self, path: str, maximum_bytes: int) -> bytes:
        with _as_os_error():
            size = int(self._files.info(f"{self._prefix}/{path}")["size"])
        _check_size(size, maximum_bytes)
        with _as_os_error():
            return bytes(self._files.cat_file(f"{self._prefix}/{path}"))

    def write(self, path: str, content: bytes) -> None:
        with _as_os_error():
            self._files.pipe_file(f"{self._prefix}/{path}", content)

    def copy(self, path: str, to: str) -> None:
        with _as_os_error():
            self._files.cp_file(f"{self._prefix}/{path}", f"{self._prefix}/{to}")

    def remove(self, path: str) -> None:
        with _as_os_error(), suppress(FileNotFoundError):
            self._files.rm_file(f"{self._prefix}/{path}")

    def remove_folder(self, folder: str) -> None:
        with _as_os_error(), suppress(FileNotFoundError):
            self._files.rm(f"{self._prefix}/{folder}", recursive=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file completely or not at all, even at a power cut. Raises ``OSError``."""
    temporary = path.with_name(f"{path.name}{WRITING}")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check_size(found: int, maximum: int) -> None:
    if found > maximum:
        raise ValueError(f"larger than {maximum >> 20} MiB")


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Each store's package has errors of its own; a caller needs to know only that it failed."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(redact(f"{type(error).__name__}: {error}")) from error
