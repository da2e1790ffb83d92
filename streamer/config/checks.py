"""What a whole configuration can get wrong: values that exclude one another, and impossible ones.

``validate`` is the one way in. Single values outside their range or form are refused by
``config_values``; what listens and connects is looked at in ``network_checks``.
"""

from __future__ import annotations

import itertools
import math
from urllib.parse import urlsplit

from streamer.config.network_checks import (
    check_api,
    check_listeners,
    check_webrtc,
)
from streamer.config.parsing import check_limits
from streamer.config.schema import (
    STREAM_ID,
    STREAM_ID_RULE,
    URL_RULE,
    URL_SCHEMES,
    MaskletConfig,
    ObjectConfig,
    StreamConfig,
)
from streamer.config.starter_checks import check_starter
from streamer.config.state_folder import check_state_directory
from streamer.errors import ConfigError
from tracker.config import PRESETS

_Point = tuple[float, float]


def validate(config: MaskletConfig) -> None:
    """Raise ``ConfigError`` for the first value that cannot be; its message names the key."""
    check_limits(config)
    if config.model.checkpoint is None and config.model.name not in PRESETS:
        raise ConfigError(
            f"model.name must be one of {', '.join(PRESETS)}, or model.checkpoint a file, "
            f"got {config.model.name!r}"
        )
    for stream_id, stream in config.streams.items():
        _check_stream(f"streams.{stream_id}", stream_id, stream)
    starting = sum(len(stream.objects) for stream in config.streams.values())
    if starting > config.tracking.max_objects:
        raise ConfigError(
            f"tracking.max_objects must be at least {starting}, the objects configured in all "
            f"streams, got {config.tracking.max_objects}"
        )
    _check_image_sizes(config)
    check_starter("starter", config.starter)
    check_state_directory(config.state_directory)
    check_listeners(config)
    check_api(config.api)
    check_webrtc(config.webrtc)


def _check_image_sizes(config: MaskletConfig) -> None:
    sizes, model = config.overload.image_sizes, config.model
    if any(size < 64 or size % 32 for size in sizes):
        raise ConfigError(f"overload.image_sizes must be multiples of 32 from 64 on, got {sizes}")
    if sizes != sorted(set(sizes), reverse=True):
        raise ConfigError(f"overload.image_sizes must descend, got {sizes}")
    full = model.engine.image_size
    if full is None and model.checkpoint is None:
        full = PRESETS[model.name].image_size
    if sizes and full is not None and sizes[0] >= full:
        raise ConfigError(
            f"overload.image_sizes must be below the {full} pixels that the model takes, "
            f"got {sizes[0]}"
        )


def _check_stream(key: str, stream_id: str, stream: StreamConfig) -> None:
    if not STREAM_ID.fullmatch(stream_id):
        raise ConfigError(f"{key}: a stream id is {STREAM_ID_RULE}, got {stream_id!r}")
    _check_url(f"{key}.url", stream.url)
    if stream.password_env and stream.password_file:
        raise ConfigError(f"{key}.password_env and {key}.password_file: give only one of them")
    if stream.reconnect.maximum_s < stream.reconnect.initial_s:
        raise ConfigError(
            f"{key}.reconnect.maximum_s must be at least initial_s "
            f"({stream.reconnect.initial_s:g}), got {stream.reconnect.maximum_s:g}"
        )
    _check_ground_plane(f"{key}.ground_plane", stream.ground_plane)
    if len(stream.objects) > stream.max_objects:
        raise ConfigError(
            f"{key}.objects holds {len(stream.objects)} objects, "
            f"{key}.max_objects allows {stream.max_objects}"
        )
    if stream.starter is not None:
        check_starter(f"{key}.starter", stream.starter)
    seen: set[int] = set()
    for index, target in enumerate(stream.objects):
        _check_object(f"{key}.objects[{index}]", target)
        if target.id in seen:
            raise ConfigError(f"{key}.objects[{index}].id {target.id} is used twice")
        seen.add(target.id)


def _check_url(key: str, url: str) -> None:
    scheme, separator, _ = url.partition("://")
    if not url.strip():
        raise ConfigError(f"{key} must be {URL_RULE}; it is empty")
    if not _is_unicode(url):
        raise ConfigError(f"{key} must be text in UTF-8; rename the file, or link to it")
    if separator and scheme.lower() not in URL_SCHEMES:
        raise ConfigError(f"{key} must be {URL_RULE}, got one that begins with '{scheme}://'")
    if scheme.lower() == "whip" and url[len("whip://") :]:
        raise ConfigError(
            f"{key} must be whip:// and nothing more: a publisher connects to this daemon, at "
            "/v1/streams/ID/whip (to fetch a stream from a media server, write whep://HOST/PATH)"
        )
    if scheme.lower() in ("whep", "wheps") and not urlsplit(url).netloc:
        raise ConfigError(f"{key} must be {scheme.lower()}://HOST/PATH of a media server")


def _is_unicode(text: str) -> bool:
    """Whether other programs can be sent it: a file name of other bytes reads as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _check_ground_plane(key: str, points: list[list[float]]) -> None:
    if not points:
        return
    if len(points) != 4 or any(len(point) != 4 for point in points):
        raise ConfigError(
            f"{key} must be four points [x, y, X, Y], pixels and metres, got {len(points)} "
            f"with {', '.join(str(len(point)) for point in points)} numbers"
        )
    for name, first in (("picture", 0), ("ground", 2)):
        corners = [(point[first], point[first + 1]) for point in points]
        for three in itertools.combinations(range(4), 3):
            if _in_a_line(*(corners[index] for index in three)):
                raise ConfigError(
                    f"{key}: points {', '.join(str(index) for index in three)} lie in a line on "
                    f"the {name}; no three of the four may"
                )


def _in_a_line(first: _Point, second: _Point, third: _Point) -> bool:
    """Whether the triangle's height is less than a thousandth of its longest side."""
    longest = max(math.dist(*pair) for pair in itertools.combinations((first, second, third), 2))
    doubled_area = (second[0] - first[0]) * (third[1] - first[1]) - (third[0] - first[0]) * (
        second[1] - first[1]
    )
    return abs(doubled_area) <= 1e-3 * longest * longest


def _check_object(key: str, target: ObjectConfig) -> None:
    given = bool(target.points) or target.box is not None
    if target.mask_file is not None and given:
        raise ConfigError(f"{key}: mask_file excludes points and box")
    if target.mask_file is None and not given:
        raise ConfigError(f"{key} must have points, a box or a mask_file")
    for index, point in enumerate(target.points):
        if len(point) != 2:
            raise ConfigError(f"{key}.points[{index}] must be [x, y], got {point}")
    if target.point_labels and len(target.point_labels) != len(target.points):
        raise ConfigError(
            f"{key}.point_labels must hold one label a point ({len(target.points)}), "
            f"got {len(target.point_labels)}"
        )
    for index, label in enumerate(target.point_labels):
        if label not in (0, 1):
            raise ConfigError(
                f"{key}.point_labels[{index}] must be 1 (on the object) or 0 (beside it), "
                f"got {label}"
            )
    box = target.box
    if box is not None and (len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]):
        raise ConfigError(f"{key}.box must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {box}")
