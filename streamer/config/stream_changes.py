"""Changing some settings of a stream, and the settings in which two streams differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from streamer.config.section import Section
from streamer.config.starters import StarterConfig
from streamer.config.streams import StreamConfig, StreamSettings
from streamer.errors import ConfigError

Settings = TypeVar("Settings", bound=StreamSettings)


def changed_stream(
    key: str, config: StreamConfig, settings: Mapping[str, Any], usual_starter: StarterConfig
) -> StreamConfig:
    """A running stream's ``config`` with ``settings`` merged in.

    ``usual_starter`` is that of a stream without one of its own. Raises ``ConfigError`` as
    ``merged`` does, and for ``objects``.
    """
    if "objects" in settings:
        raise ConfigError(
            f"{key}.objects cannot be changed while the stream runs: prompt, rename or remove the "
            "objects themselves"
        )
    if config.starter is None and isinstance(settings.get("starter"), Mapping):
        config = config.changed(starter=usual_starter)
    return merged(key, config, settings)


def merged(key: str, config: Settings, settings: Mapping[str, Any]) -> Settings:
    """``config`` with ``settings`` merged in, as they would stand under ``streams.ID``.

    ``reconnect``, ``smoothing`` and ``starter`` may be given in part; every other value replaces
    the one before. Raises ``ConfigError``, which names the setting after ``key``.
    """
    values = config.model_dump()
    for name, value in settings.items():
        in_part = isinstance(getattr(config, name, None), Section) and isinstance(value, Mapping)
        values[name] = {**values[name], **value} if in_part else value
    return type(config).read(values, key)


def settings_that_differ(config: StreamConfig, base: StreamConfig) -> dict[str, Any]:
    """The settings of ``config`` that ``base`` has otherwise, with plain values."""
    before = base.model_dump()
    return {name: value for name, value in config.model_dump().items() if value != before[name]}


def settings_of(config: StreamConfig) -> dict[str, Any]:
    """The settings of ``config`` that are not at their default; ``url`` is always there."""
    return config.model_dump(exclude_defaults=True)
