"""A stream's settings as plain mappings: changing some of them, and what differs from others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from streamer.config.parsing import build
from streamer.config.schema import StreamConfig
from streamer.config.starters import StarterConfig
from streamer.errors import ConfigError


def changed_stream(
    key: str, config: StreamConfig, settings: Mapping[str, Any], usual_starter: StarterConfig
) -> StreamConfig:
    """A running stream's ``config`` with ``settings`` laid over it.

    ``usual_starter`` is that of a stream without one of its own. Raises ``ConfigError`` as
    ``laid_over`` does, and for ``objects``.
    """
    if "objects" in settings:
        raise ConfigError(
            f"{key}.objects cannot be changed while the stream runs: prompt, rename or remove the "
            "objects themselves"
        )
    if config.starter is None and isinstance(settings.get("starter"), Mapping):
        config = dataclasses.replace(config, starter=usual_starter)
    return laid_over(key, config, settings)


def laid_over(key: str, config: StreamConfig, settings: Mapping[str, Any]) -> StreamConfig:
    """``config`` with ``settings`` laid over it, as they would stand under ``streams.ID``.

    ``reconnect``, ``smoothing`` and ``starter`` may be given in part, every other value replaces
    the one before. Raises ``ConfigError``, which names the setting after ``key``; limits and what
    excludes one another are ``validate``'s business.
    """
    values = dataclasses.asdict(config)
    for name, value in settings.items():
        before = values.get(name)
        in_part = name in ("reconnect", "smoothing", "starter") and isinstance(value, Mapping)
        values[name] = {**(before or {}), **value} if in_part else value
    return build(StreamConfig, values, key)


def settings_that_differ(config: StreamConfig, base: StreamConfig) -> dict[str, Any]:
    """The settings of ``config`` that ``base`` has otherwise, with plain values."""
    before = dataclasses.asdict(base)
    return {
        name: value for name, value in dataclasses.asdict(config).items() if value != before[name]
    }


def settings_of(config: StreamConfig) -> dict[str, Any]:
    """The settings of ``config`` that are not at their default, ``url`` always among them."""
    return {"url": config.url, **settings_that_differ(config, StreamConfig(config.url))}
