"""CURVE keys: the files ``masklet keys`` makes, reading them, and the list of allowed clients.

A key pair is two files, as pyzmq's ``zmq.auth`` and other CURVE programs read them:
``NAME.key_secret`` (both keys; stays where it was made) and ``NAME.key`` (the public key). The
allow-list is a folder of clients' public keys:

    KEYS/server.key_secret, KEYS/server.key     the daemon's own; clients need server.key
    KEYS/NAME.key_secret, KEYS/NAME.key         the keys of client NAME
    KEYS/clients/NAME.key                       allows NAME to subscribe
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from streamer.errors import SecurityError
from streamer.runtime.private_files import why_changeable

SERVER_NAME = "server"
ALLOW_LIST_FOLDER = "clients"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY_LINE = re.compile(r"^\s*(public|secret)-key\s*=\s*[\"']?(\S{40})[\"']?\s*$", re.MULTILINE)
_KEY_FILE_LIMIT_BYTES = 16_384
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, each key as 40 characters of Z85 (ZeroMQ RFC 32)."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where a key pair was written."""

    public: Path
    secret: Path


def make_keys(directory: Path, name: str, *, overwrite: bool = False) -> KeyFiles:
    """Write a new key pair ``name``: files of mode 0600 in a folder of mode 0700.

    Raises ``SecurityError`` when one of the files is there already and ``overwrite`` is not set,
    when the name is invalid, or when the folder cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise SecurityError(
            f"key name {name!r}: use 1 to 64 letters, digits, '.', '-' or '_', beginning with a "
            "letter or digit"
        )
    private_keys_folder(directory)
    files = KeyFiles(directory / f"{name}.key", directory / f"{name}.key_secret")
    present = [str(path) for path in (files.secret, files.public) if path.exists()]
    if present and not overwrite:
        raise SecurityError(
            f"{', '.join(present)}: there already; choose another name, or replace it with "
            "--overwrite (the old key is then refused)"
        )
    public, secret = (key.decode() for key in zmq.curve_keypair())
    secret_text = f"# ZeroMQ CURVE secret key of {name}: do not pass it on\nmetadata\ncurve\n"
    secret_text += f'    public-key = "{public}"\n    secret-key = "{secret}"\n'
    _write_private(files.secret, secret_text)
    _write_private(files.public, _public_text(name, public))
    return files


def allow_client(allow_list: Path, name: str, public_key_file: Path) -> Path:
    """Put a client's public key into the folder ``allow_list``; returns the file's path."""
    private_keys_folder(allow_list)
    path = allow_list / f"{name}.key"
    _write_private(path, _public_text(name, load_public_key(public_key_file).decode()))
    return path


def load_key_pair(secret_key_file: Path | str) -> KeyPair:
    """Read a ``.key_secret`` file. Raises ``SecurityError`` when others than its owner may too."""
    path = Path(secret_key_file)
    keys = _keys_in(path, _read(path))
    if "secret" not in keys or "public" not in keys:
        raise SecurityError(f"{path}: holds no key pair; give the file NAME.key_secret")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SecurityError(
            f"{path}: a secret key that others may read (mode {mode:04o}); run `chmod 600 {path}`"
        )
    if zmq.curve_public(keys["secret"]) != keys["public"]:
        raise SecurityError(f"{path}: its public key does not belong to its secret key")
    return KeyPair(keys["public"], keys["secret"])


def load_server_keys(secret_key_file: Path | str) -> KeyPair:
    """The daemon's own keys. Raises ``SecurityError`` naming the setting and the command."""
    if not Path(secret_key_file).exists():
        raise SecurityError(
            f"zeromq.server_key_file {secret_key_file}: no such file; `masklet keys DIRECTORY` "
            f"makes DIRECTORY/{SERVER_NAME}.key_secret"
        )
    # Who can exchange the key can pass for the daemon.
    if (reason := why_changeable(Path(secret_key_file).absolute().parent)) is not None:
        raise SecurityError(f"zeromq.server_key_file: {reason}")
    return load_key_pair(secret_key_file)


def load_public_key(key: Path | str | bytes) -> bytes:
    """A public key: 40 characters of Z85 as they are, or the path of a ``.key`` file."""
    text = key.decode() if isinstance(key, bytes) else str(key)
    if len(text) == 40 and _is_key(text) and not Path(text).exists():
        return text.encode()
    path = Path(text)
    return _public_key(path, _read(path))


class AllowList:
    """The clients that may connect: the public keys in a folder of ``.key`` files.

    The folder is read again at each connection: an added key works at once, a removed one opens no
    new connection. ``missing`` lists those whose open connections are to be ended. What cannot be
    read for a while (no descriptor is left, a network drive is away) counts as it was last read;
    a folder that is gone allows nobody.
    """

    def __init__(self, directory: Path | str) -> None:
        """Raises ``SecurityError`` when the folder is missing or a file in it is not a key."""
        self._directory = Path(directory)
        if not self._directory.is_dir():
            raise SecurityError(
                f"zeromq.client_keys_directory {directory}: no such folder; `masklet keys "
                f"DIRECTORY --client NAME` makes DIRECTORY/{ALLOW_LIST_FOLDER}"
            )
        self._keys: dict[Path, _ListedKey] = {}
        # What could not be read at the last try, with the error: it is logged once.
        self._unread: dict[Path, int | None] = {}
        files = sorted(self._directory.glob("*.key"))
        # Who can write here can let himself in.
        if (reason := why_changeable(self._directory, *files)) is not None:
            raise SecurityError(f"zeromq.client_keys_directory: {reason}")
        for path in files:
            load_public_key(path)
        self._refresh()
        if not len(self):
            _log.warning(
                "%s: no client keys: every subscriber is refused",
                self._directory,
            )

    def __len__(self) -> int:
        return len(self._public_keys())

    def allows(self, public_key: bytes) -> bool:
        """Whether the client with this key (Z85) may connect. Never raises."""
        self._refresh()
        return public_key in self._public_keys()

    def missing(self, public_keys: Collection[bytes]) -> frozenset[bytes]:
        """Those of these keys (Z85) that are not allowed. Never raises."""
        self._refresh()
        return frozenset(public_keys) - self._public_keys()

    def _public_keys(self) -> frozenset[bytes]:
        return frozenset(each.key for each in self._keys.values() if each.key is not None)

    def _refresh(self) -> None:
        """Read the files that were added or changed since, and forget those that are gone."""
        try:
            with os.scandir(self._directory) as entries:
                names = sorted(each.name for each in entries if each.name.endswith(".key"))
        except FileNotFoundError:
            names = []
        except OSError as error:
            self._not_read(self._directory, error)
            return
        paths = [self._directory / name for name in names]
        self._unread = {path: self._unread[path] for path in paths if path in self._unread}
        self._keys = {
            path: listed
            for path in paths
            if (listed := self._listed(path, self._keys.get(path))) is not None
        }

    def _not_read(self, path: Path, error: OSError) -> None:
        if self._unread.get(path) != error.errno:
            _log.warning("%s: not read: %s; its last state counts", path, error.strerror)
        self._unread[path] = error.errno

    def _listed(self, path: Path, known: _ListedKey | None) -> _ListedKey | None:
        """A file as it is now, or as it was last read; None for one that is gone."""
        try:
            state = path.stat()
            version = (state.st_mtime_ns, state.st_size, state.st_ino, state.st_mode)
            if known is not None and known.version == version:
                return known
            if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for
                _log.warning("ignoring a client key: %s: not a file", path)
                return _ListedKey(version, None)
            text = _read_text(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._not_read(path, error)
            return known
        self._unread.pop(path, None)
        if (reason := why_changeable(path)) is not None:
            _log.warning("ignoring a client key: %s", reason)
            return _ListedKey(version, None)
        try:
            return _ListedKey(version, _public_key(path, text))
        except SecurityError as error:
            _log.warning("ignoring a client key: %s", error)
            return _ListedKey(version, None)


@dataclass(frozen=True, slots=True)
class _ListedKey:
    """A file of the allow-list; ``key`` is None where it holds none."""

    version: tuple[int, int, int, int]
    key: bytes | None


def private_keys_folder(directory: Path) -> None:
    """Make ``directory`` with mode 0700; one that is there must belong to its owner alone."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = directory.stat().st_mode & 0o777
    except OSError as error:
        raise SecurityError(f"{directory}: cannot hold keys: {error.strerror}") from error
    if mode & 0o077:
        raise SecurityError(
            f"{directory}: open to others (mode {mode:04o}), which a folder of keys must not be; "
            f"run `chmod 700 {directory}` or give another folder"
        )


def _public_text(name: str, public: str) -> str:
    return f'# ZeroMQ CURVE public key of {name}\nmetadata\ncurve\n    public-key = "{public}"\n'


def _write_private(path: Path, text: str) -> None:
    """Replace ``path`` in one step; it has mode 0600 from its first moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SecurityError(f"{path}: cannot be written: {error.strerror}") from error


def _read(path: Path) -> str:
    try:
        return _read_text(path)
    except OSError as error:
        raise SecurityError(f"{path}: cannot be read: {error.strerror}") from error


def _read_text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_KEY_FILE_LIMIT_BYTES).decode(errors="replace")


def _public_key(path: Path, text: str) -> bytes:
    public = _keys_in(path, text).get("public")
    if public is None:
        raise SecurityError(f"{path}: holds no public key")
    return public


def _keys_in(path: Path, text: str) -> dict[str, bytes]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    keys = {kind: key.encode() for kind, key in _KEY_LINE.findall(lines) if _is_key(key)}
    if not keys:
        raise SecurityError(f"{path}: not a ZeroMQ key file; `masklet keys` makes them")
    return keys


def _is_key(text: str) -> bool:
    try:
        return len(z85.decode(text)) == 32
    except (KeyError, ValueError):
        return False
