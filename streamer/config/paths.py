"""Settings that name files and folders, made absolute where they were typed.

A relative path starts at the folder of the configuration file that holds it, or, on the command
line, at the caller's folder. The daemon, its saved state and a restart from another folder then
all find the same file. Nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from streamer.config.state_address import is_address
from streamer.errors import ConfigError
from streamer.runtime.address import Address, AddressError
from tracker.config import PRESETS

Where = tuple[str, ...]
_FILES_AMONG_OPTIONS = frozenset({"ca_file", "cafile", "cert_file", "key_file"})


@dataclass(frozen=True, slots=True)
class StartsInFolder:
    """Marks a setting; ``resolve`` makes a value of type ``of`` absolute, from a folder on."""

    resolve: Callable[[Any, Path], Any]
    of: type = str


def absolute_path(path: str, folder: Path) -> str:
    """``path`` from ``folder`` on, with ``~`` and ``~NAME`` as home folders; links are kept.

    Raises ``ConfigError`` without the key.
    """
    if "\0" in path:
        raise ConfigError("must be a path without a zero character; remove it")
    if not path.startswith("~"):
        return str(folder / path) if path else path
    try:
        return str(folder / Path(path).expanduser())
    except RuntimeError:
        name = path.partition("/")[0]
        raise ConfigError(
            f"begins with {name!r}, which is no home folder here; give an absolute path, or write "
            f"./{name} for a file of that name"
        ) from None


def absolute_url(url: str, folder: Path) -> str:
    """A stream's URL whose path, if it names one, is absolute. Raises ``ConfigError``."""
    try:
        address = Address.parse(url)
    except AddressError:
        return url  # for the schema's own message
    if address.scheme != "file":
        return url
    absolute = absolute_path(address.path, folder)
    return url if absolute == address.path else absolute


def _endpoint(endpoint: str, folder: Path) -> str:
    """``ipc://@NAME`` is no file (an abstract socket of Linux)."""
    scheme, separator, path = endpoint.partition("://")
    if scheme != "ipc" or not path or path.startswith("@"):
        return endpoint
    return f"{scheme}{separator}{absolute_path(path, folder)}"


def _checkpoint(name_or_path: str, folder: Path) -> str:
    return name_or_path if name_or_path in PRESETS else absolute_path(name_or_path, folder)


def _name_or_folder(name: str, folder: Path) -> str:
    """A folder is written as a path: ``./dino``; ``OWNER/MODEL`` is a name of the hub."""
    return absolute_path(name, folder) if name.startswith((".", "~")) else name


def _folder_or_word(value: str, folder: Path) -> str:
    if value.lower() in ("auto", "none") or is_address(value):
        return value
    return absolute_path(value, folder)


def _options(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        name: absolute_path(value, folder)
        if name in _FILES_AMONG_OPTIONS and isinstance(value, str)
        else value
        for name, value in options.items()
    }


FilePath = Annotated[str, StartsInFolder(absolute_path)]
Endpoint = Annotated[str, StartsInFolder(_endpoint)]
Checkpoint = Annotated[str, StartsInFolder(_checkpoint)]
NameOrFolder = Annotated[str, StartsInFolder(_name_or_folder)]
FolderOrWord = Annotated[str, StartsInFolder(_folder_or_word)]
Options = Annotated[dict[str, str], StartsInFolder(_options, Mapping)]


def with_absolute_paths(
    values: Any, kind: Any, folder_of: Callable[[Where], Path], where: Where = ()
) -> Any:
    """Plain ``values`` for the section ``kind``, with every path in them absolute.

    ``folder_of`` returns where a relative path starts, for the keys that lead to it. Values that
    do not fit the schema are left as they are, for its own messages. Raises ``ConfigError``.
    """
    mark, kind = _unwrapped(kind)
    if mark is not None and isinstance(values, mark.of):
        folder = folder_of(where)
        try:
            return mark.resolve(values, folder)
        except ConfigError as error:
            raise ConfigError(f"{'.'.join(where)} {error}") from None
    if isinstance(values, Mapping):
        return {
            key: with_absolute_paths(value, _kind_of(kind, key), folder_of, (*where, str(key)))
            for key, value in values.items()
        }
    if isinstance(values, list) and get_origin(kind) is list:
        return [
            with_absolute_paths(value, get_args(kind)[0], folder_of, (*where, str(index)))
            for index, value in enumerate(values)
        ]
    return values


def _kind_of(kind: Any, key: object) -> Any:
    """What stands under ``key``: a field's annotation, or the kind of a mapping's values."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(key))
        return Any if field is None else field.rebuild_annotation()
    return get_args(kind)[1] if get_origin(kind) is dict else Any


def _unwrapped(kind: Any) -> tuple[StartsInFolder | None, Any]:
    """The mark of an annotation, and the annotation without ``Annotated`` and ``| None``."""
    found = None
    while True:
        arguments = [each for each in get_args(kind) if each is not NoneType]
        if get_origin(kind) is Annotated:
            for mark in arguments[1:]:
                found = mark if isinstance(mark, StartsInFolder) else found
            kind = arguments[0]
        elif len(get_args(kind)) > len(arguments) == 1:
            kind = arguments[0]
        else:
            return found, kind


def caller_folder(_: Where = ()) -> Path:
    """The folder in which the command was typed. Raises ``ConfigError``."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the working folder cannot be used ({error.strerror}); cd into another one"
        ) from None
