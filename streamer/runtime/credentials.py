"""Credentials: read from environment variables or a file when a connection is made.

They are put into the URL for that one call and kept out of every ``repr``.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamer.errors import ConfigError
from streamer.runtime.address import Address
from streamer.runtime.private_files import why_changeable

_PASSWORD_FILE_LIMIT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, as they are (not percent-encoded). Shown by no ``repr``."""

    username: str = field(repr=False)
    password: str = field(repr=False)


def credentials(
    key: str,
    address: Address,
    *,
    username_env: str | None,
    password_env: str | None,
    password_file: str | None,
    environment: Mapping[str, str] = os.environ,
) -> Credentials | None:
    """The credentials for ``address``: from the environment or a file, else its own.

    A user name in the address goes with a password from elsewhere. None where there are none.
    Raises ``ConfigError`` naming ``key`` (``streams.gate``) and the setting that is wrong.
    """
    username = address.username
    if username_env is not None:
        username = from_environment(f"{key}.username_env", username_env, environment)
    password = secret(
        key, password_env=password_env, password_file=password_file, environment=environment
    )
    if password is None:
        password = address.password
    if username is None and password is None:
        return None
    if username is None:
        raise ConfigError(
            f"{key} has a password but no user name: set {key}.username_env, or put the name "
            "into the URL, before its host (NAME@HOST)"
        )
    return Credentials(username=username, password=password or "")


def secret(
    key: str,
    *,
    password_env: str | None,
    password_file: str | None,
    environment: Mapping[str, str] = os.environ,
) -> str | None:
    """A password alone, from the environment or a file; None where neither is named.

    Raises ``ConfigError`` naming ``key`` and the setting that is wrong.
    """
    if password_env is not None:
        return from_environment(f"{key}.password_env", password_env, environment)
    if password_file is not None:
        return _from_file(f"{key}.password_file", password_file)
    return None


def url_with_credentials(address: Address, given: Credentials | None) -> str:
    """``address`` with ``given`` as its user and password; only for the call that opens it."""
    if given is None:
        return address.url
    return replace(address, username=given.username, password=given.password).url


def from_environment(key: str, name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The value of the variable ``name``, which the setting ``key`` names.

    Raises ``ConfigError``. It quotes the name only if it looks like one: it may be the secret.
    """
    value = environment.get(name)
    if value is not None:
        return _printable(key, value.rstrip("\r\n"))
    if re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise ConfigError(f"{key}: the environment variable {name} is not set; export it")
    raise ConfigError(
        f"{key} must be the name of an environment variable that is set, such as CAMERA_PASSWORD, "
        "and not the secret itself"
    )


def _from_file(key: str, path: str) -> str:
    if (reason := why_changeable(Path(path))) is not None:
        raise ConfigError(f"{key}: {reason}")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_PASSWORD_FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error.strerror}") from None
    if len(content) > _PASSWORD_FILE_LIMIT_BYTES:
        raise ConfigError(
            f"{key}: {path} is larger than {_PASSWORD_FILE_LIMIT_BYTES} bytes; "
            "it must hold the password and nothing else"
        )
    try:
        return _printable(key, content.decode().rstrip("\r\n"))
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} is not UTF-8 text") from None


def _printable(key: str, value: str) -> str:
    """``value``: a control character could end the header that carries it."""
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise ConfigError(f"{key}: holds a control character; it must hold one line of text")
    return value
