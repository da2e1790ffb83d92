"""The request bodies of ``masklet ctl``: settings and prompts from the arguments."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import yaml

from streamer.errors import ConfigError


def settings_of(texts: Sequence[str]) -> dict[str, Any]:
    """The settings in ``KEY=VALUE`` texts: values as in YAML, ``reconnect.maximum_s`` nested.

    Relative paths start in the caller's folder. Raises ``ConfigError``.
    """
    settings = read_settings(texts)
    from streamer.config.paths import caller_folder, with_absolute_paths
    from streamer.config.streams import StreamConfig

    absolute: dict[str, Any] = with_absolute_paths(settings, StreamConfig, caller_folder)
    return absolute


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """``settings_of``, its paths as they were typed."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"a setting must be given as KEY=VALUE, got {key!r}")
        *sections, name = key.split(".")
        section = settings
        for each in sections:
            section = section.setdefault(each, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{key} and {each} exclude one another")
        try:
            # A URL is not read as YAML: `rtsp://h/#x` would lose its end to a comment.
            section[name] = value if name == "url" else yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(
                f"{key}: the value cannot be read as YAML; put it in quotes"
            ) from None
    return settings


def prompt_body(arguments: Namespace) -> dict[str, Any]:
    """The prompt in the arguments as the API's JSON. Raises ``ConfigError``."""
    points = [
        {"x": x, "y": y, "positive": positive}
        for given, positive in ((arguments.point, True), (arguments.not_point, False))
        for x, y in given
    ]
    if arguments.mask is not None and (points or arguments.box):
        raise ConfigError("--mask excludes points and a box: give one or the other")
    if arguments.mask is None and not points and arguments.box is None:
        raise ConfigError("nothing is pointed at: give --point X,Y, --box X0,Y0,X1,Y1 or --mask")
    if arguments.at_frame is not None and arguments.at_time_ns is not None:
        raise ConfigError("--at-frame excludes --at-time-ns: give one of them")
    frame = {
        "frame_index": arguments.at_frame,
        "capture_time_ns": arguments.at_time_ns,
        "session_id": arguments.session,
    }
    body: dict[str, Any] = {
        "label": arguments.label,
        "colour": arguments.colour,
        "points": points or None,
        "box": arguments.box,
        "mask": None if arguments.mask is None else _mask(arguments.mask),
        "frame": {name: value for name, value in frame.items() if value is not None} or None,
        "correct": arguments.correct or None,
        "replace_points": arguments.replace_points or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def _mask(path: str) -> dict[str, Any]:
    from streamer.inference.prompts.mask_file import LARGEST_SHARE, read_mask
    from streamer.wire.mask_codecs import MaskEncoding, encode_crop

    mask = read_mask("--mask", path)
    counts = encode_crop(mask, MaskEncoding.RLE).decode("ascii")
    given = {"size": list(mask.shape), "counts": counts}
    return {**given, "whole": True} if mask.mean() > LARGEST_SHARE else given
