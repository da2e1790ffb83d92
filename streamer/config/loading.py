"""Compose the configuration: shipped files, the user's file, ``--stream`` and single values.

Hydra composes the shipped groups and parses the overrides; the models of ``schema`` check the
result. Messages of Hydra and OmegaConf may quote a URL, so all of them are redacted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from streamer.config.schema import MaskletConfig
from streamer.config.shipped import config_groups, configs_directory
from streamer.config.streams import STREAM_ID, STREAM_ID_RULE
from streamer.errors import ConfigError
from streamer.runtime.redaction import redact

MAXIMUM_FILE_BYTES = 1 << 20


def load_config(
    config_file: str | None = None, overrides: Iterable[str] = (), streams: Iterable[str] = ()
) -> MaskletConfig:
    """Compose and check; later wins: shipped, groups, file, values, streams.

    ``overrides`` are ``group=option`` or ``dotted.key=value`` in Hydra's grammar; ``streams``
    are ``ID=URL``, where the URL may hold anything. Raises ``ConfigError``.
    """
    groups = config_groups()
    parsed = [_parse(text, groups) for text in overrides]
    choices = [each for each in parsed if each.key_or_group in groups and not _is_value(each)]
    composed = _compose(choices)
    try:
        if config_file is not None:
            composed.merge_with(_read_file(Path(config_file)))
        for each in parsed:
            if each not in choices:
                OmegaConf.update(composed, each.key_or_group, each.value(), force_add=True)
        values = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_library_message(error)) from None
    _set_urls(values, [parse_stream(text) for text in streams])
    return MaskletConfig.read(values)


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
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{path} must hold settings as `key: value`, not a list")
    return loaded


def parse_stream(text: str) -> tuple[str, str]:
    """The two halves of ``ID=URL``. Raises ``ConfigError``."""
    stream_id, separator, url = text.partition("=")
    if not separator or not url or not STREAM_ID.fullmatch(stream_id):
        raise ConfigError(
            redact(f"a stream must be given as ID=URL, the id {STREAM_ID_RULE}; got {text!r}")
        )
    return stream_id, url


def _set_urls(values: Any, streams: list[tuple[str, str]]) -> None:
    """Insert the URLs as typed: no library interprets a ``$`` or ``=`` in them."""
    for stream_id, url in streams:
        section = values.setdefault("streams", {})
        if isinstance(section, dict) and isinstance(section.setdefault(stream_id, {}), dict):
            section[stream_id]["url"] = url


def _library_message(error: OmegaConfBaseException) -> str:
    key = getattr(error, "full_key", None)
    reason = redact(str(getattr(error, "msg", None) or error).splitlines()[0])
    reason = reason.rpartition("raised while resolving interpolation: ")[2].strip('"')
    return f"{key}: {reason}" if key else reason
