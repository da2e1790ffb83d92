"""Compose the configuration: shipped files, the user's file, ``--stream`` and single values.

Hydra composes the shipped groups and parses the overrides; the models of ``schema`` check the
result. Messages of Hydra and OmegaConf may quote a URL, so all of them are redacted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from streamer.config.paths import Where, caller_folder, with_absolute_paths
from streamer.config.schema import MaskletConfig
from streamer.config.shipped import config_groups, configs_directory
from streamer.config.stream_id import parse_stream
from streamer.errors import ConfigError
from streamer.runtime.redaction import redact

MAXIMUM_FILE_BYTES = 1 << 20
_KEY = re.compile(r"[^.\[\]]+")


def load_config(
    config_file: str | None = None, overrides: Iterable[str] = (), streams: Iterable[str] = ()
) -> MaskletConfig:
    """Compose and check; later wins: shipped, groups, file, values, streams.

    ``overrides`` are ``group=option`` or ``dotted.key=value`` in Hydra's grammar; ``streams``
    are ``ID=URL``, where the URL may hold anything. A relative path in the file starts beside the
    file, any other in the caller's folder. Raises ``ConfigError``.
    """
    return MaskletConfig.read(_composed(config_file, overrides, streams))


def load_config_in_part(
    config_file: str | None = None, overrides: Iterable[str] = (), streams: Iterable[str] = ()
) -> tuple[MaskletConfig, list[str]]:
    """``load_config`` without the streams that are wrong, and what is wrong with each of them."""
    values = _composed(config_file, overrides, streams)
    faults = []
    there = values.get("streams")
    for stream_id, settings in list(there.items()) if isinstance(there, dict) else []:
        try:
            MaskletConfig.read({"streams": {stream_id: settings}})
        except ConfigError as error:
            faults.append(str(error))
            del there[stream_id]
    return MaskletConfig.read(values), faults


def _composed(config_file: str | None, overrides: Iterable[str], streams: Iterable[str]) -> Any:
    """All values, not checked yet."""
    caller = caller_folder()
    beside_file = (caller / config_file).parent if _is_file(config_file) else caller
    groups = config_groups()
    parsed = [_parse(text, groups) for text in overrides]
    choices = [each for each in parsed if each.key_or_group in groups and not _is_value(each)]
    changes = [each for each in parsed if each not in choices]
    composed = _compose(choices)
    in_file: Any = {}
    try:
        if config_file is not None:
            read = _read_file(Path(config_file))
            composed.merge_with(read)
            in_file = OmegaConf.to_container(read)
        for each in changes:
            OmegaConf.update(composed, each.key_or_group, each.value(), force_add=True)
        values = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_library_message(error)) from None
    typed = [tuple(_KEY.findall(each.key_or_group)) for each in changes]
    for stream_id, url in map(parse_stream, streams):
        _set_url(values, stream_id, url)
        typed.append(("streams", stream_id, "url"))

    def folder_of(where: Where) -> Path:
        was_typed = any(where[: len(each)] == each for each in typed)
        return caller if was_typed or not _holds(in_file, where) else beside_file

    return with_absolute_paths(values, MaskletConfig, folder_of)


def _is_value(override: Override) -> bool:
    """Whether this is ``model={name: …}`` rather than ``model=option``."""
    return not isinstance(override.value(), str)


def _parse(text: str, groups: dict[str, list[str]]) -> Override:
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        hint = "key=value, with quotes inside where the value has '=', ',' or spaces"
        raise ConfigError(
            redact(f"cannot read {text!r}: write {hint}; a URL goes into --stream ID=URL")
        ) from None
    key = override.key_or_group
    allowed = (OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD)
    if override.type not in allowed or override.is_sweep_override() or override.package:
        raise ConfigError(redact(f"cannot read {text!r}: only key=value or group=option"))
    if "://" in text and key not in {*MaskletConfig.model_fields, *groups} and "." not in key:
        raise ConfigError(f"{key} is not a setting: a stream is given as --stream {key}=URL")
    if key in groups and not _is_value(override) and override.value() not in groups[key]:
        raise ConfigError(
            f"{key} must be one of {', '.join(groups[key])}, got {override.value()!r}"
        )
    return override


def _compose(choices: list[Override]) -> DictConfig:
    overrides = [f"{each.key_or_group}={each.value()}" for each in choices]
    with initialize_config_dir(str(configs_directory()), version_base="1.3"):
        composed = compose("masklet", overrides)
    OmegaConf.set_struct(composed, False)
    return composed


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file, its references resolved. Raises ``ConfigError``."""
    try:
        return OmegaConf.to_container(_read_file(path), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_library_message(error)) from None


def _read_file(path: Path) -> DictConfig:
    try:
        if path.stat().st_size > MAXIMUM_FILE_BYTES:
            raise ConfigError(f"{path} is larger than 1 MiB: not a configuration")
        loaded: Any = OmegaConf.load(path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text in UTF-8") from None
    except yaml.YAMLError as error:
        # A scanner error quotes the line, and the line may hold a password: only say where.
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = redact(str(getattr(error, "problem", None) or "not YAML"))
        raise ConfigError(f"{path}{where}: {problem}") from None
    if isinstance(loaded, DictConfig):
        for section in [str(key) for key in loaded if loaded[key] is None]:
            del loaded[section]  # all below it is commented out
    else:
        raise ConfigError(f"{path} must hold settings as `key: value`, not a list")
    return loaded


def _is_file(config_file: str | None) -> TypeGuard[str]:
    """Not a pipe (``--config <(…)``), beside which nothing lies."""
    return config_file is not None and Path(config_file).is_file()


def _holds(values: Any, where: Where) -> bool:
    """Whether a configuration file sets the key at ``where``."""
    for key in where:
        if isinstance(values, dict):
            values = {str(name): value for name, value in values.items()}.get(key)
        elif isinstance(values, list) and key.isdecimal() and int(key) < len(values):
            values = values[int(key)]
        else:
            return False
    return values is not None


def _set_url(values: Any, stream_id: str, url: str) -> None:
    """Insert a URL as typed: no library interprets a ``$`` or ``=`` in it."""
    section = values.setdefault("streams", {})
    if isinstance(section, dict) and isinstance(section.setdefault(stream_id, {}), dict):
        section[stream_id]["url"] = url


def _library_message(error: OmegaConfBaseException) -> str:
    key = getattr(error, "full_key", None)
    reason = redact(str(getattr(error, "msg", None) or error).splitlines()[0])
    reason = reason.rpartition("raised while resolving interpolation: ")[2].strip('"')
    return f"{key}: {reason}" if key else reason
