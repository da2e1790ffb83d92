"""What a starter's settings can get wrong, beside single values outside their range."""

from __future__ import annotations

from streamer.config.published_detectors import PUBLISHED_DETECTORS
from streamer.config.starters import StarterConfig
from streamer.errors import ConfigError


def check_starter(key: str, config: StarterConfig) -> None:
    """Raise ``ConfigError``, which names the setting after ``key``, for settings that cannot be."""
    if config.kind == "torchvision" and config.model not in PUBLISHED_DETECTORS:
        raise ConfigError(
            f"{key}.model must be one of {', '.join(PUBLISHED_DETECTORS)}, got {config.model!r}"
        )
    if config.kind == "python" and config.factory is None:
        raise ConfigError(f"{key}.factory is missing: kind python needs MODULE:NAME")
    if config.kind != "python" and config.factory is not None:
        raise ConfigError(f"{key}.factory is only for kind python, and {key}.kind is {config.kind}")
    if config.minimum_area >= config.maximum_area:
        raise ConfigError(
            f"{key}.maximum_area must be above minimum_area ({config.minimum_area:g}), got "
            f"{config.maximum_area:g}"
        )
    if config.kind == "motion" and config.labels:
        raise ConfigError(
            f"{key}.labels: motion knows no labels, and nothing would be started; {key}.label "
            "names what it starts"
        )
    _check_region(f"{key}.region", config.region)


def _check_region(key: str, region: list[list[float]]) -> None:
    if region and (len(region) < 3 or any(len(point) != 2 for point in region)):
        raise ConfigError(
            f"{key} must be three or more points [x, y] in pixels, or empty for everywhere, got "
            f"{len(region)} with {', '.join(str(len(point)) for point in region)} numbers"
        )
