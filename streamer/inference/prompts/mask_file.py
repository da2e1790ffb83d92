"""Reads one object's mask from an image file, as drawing programs and data sets write them.

Transparency decides where there is some. Otherwise black (of a palette: entry 0) is the background,
and a file that holds several objects, or none for certain, is refused with what was found in it.

Dimensions: H W of the picture.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from streamer.errors import ConfigError
from tracker.types import MaskArray

# A mask of more than this share of the picture is more often inverted than meant.
LARGEST_SHARE = 0.9
# As in the wire format. Pillow's own limit is a warning.
_MOST_PIXELS = 1 << 26
# Their noise is no object: only thresholds can read them.
_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF")
# Numbers below are ids, whatever their area; more flat values than these are shades.
_SMALL_IDS, _MOST_IDS = 32, 64
# The edge of an object is blurred, not the picture.
_MOST_BETWEEN = 0.25
_CHOICE = re.compile(r"(?P<path>.+):(?P<id>\d{1,10}|#[0-9a-fA-F]{6})")

_Values = npt.NDArray[Any]  # (H, W): grey levels, palette entries, or colours as one number


def read_mask(key: str, text: str) -> MaskArray:
    """The mask in an image file, (H, W). ``text`` is its path, or ``PATH:ID`` for one of several.

    An id is a grey level, a palette entry or a colour (``#rrggbb``). Naming it also accepts a mask
    of nearly the whole picture. Raises ``ConfigError``, which names ``key``.
    """
    match = None if Path(text).exists() else _CHOICE.fullmatch(text)
    path, chosen = (match["path"], match["id"]) if match else (text, None)
    picture = _open(key, path)
    name = f"{key}: {path}"
    mask = _the_object(name, picture) if chosen is None else _chosen(name, picture, chosen)
    if not mask.any():
        raise ConfigError(f"{name} shows no object: all of it is black or transparent")
    share = float(mask.mean())
    if chosen is None and share > LARGEST_SHARE:
        raise ConfigError(
            f"{name} covers {share:.0%} of the picture: is it inverted? To insist, name what you "
            f"mean: {path}:ID, with the object's grey level, palette entry or #rrggbb"
        )
    return mask


def _open(key: str, path: str) -> Image.Image:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if width * height > _MOST_PIXELS:
                raise ConfigError(f"{key}: {path} is too large: {width}×{height} pixels")
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
                raise ConfigError(f"{key}: {path} holds several pictures; save one of them alone")
            turned = ImageOps.exif_transpose(picture)
            # A palette of many greys is a grey picture, saved with few colours.
            if turned.mode == "P" and not turned.has_transparency_data and _has_greys(turned):
                turned = turned.convert("L")
            turned.format = picture.format
            return turned
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{key}: {path} is not a readable image: {reason}") from error


def _the_object(name: str, picture: Image.Image) -> MaskArray:
    """The only object in the picture."""
    values = _values(picture)
    opaque = None
    if picture.has_transparency_data:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        if alpha.min() <= alpha.max() // 2 and alpha.any():
            opaque = np.asarray(alpha > alpha.max() / 2)
        elif not alpha.any():
            return np.zeros(alpha.shape, np.bool_)
    if opaque is not None:
        if picture.mode == "P":
            _ensure_one(name, picture, _ids(values, opaque))
        return opaque
    if picture.format in _LOSSY:
        return _bright(name, np.asarray(picture.convert("RGB")).max(axis=2), noise=32)
    if values.dtype.kind == "f":
        return _bright(name, np.nan_to_num(values))
    ids = _ids(values, None)
    if len(ids) > _MOST_IDS:
        return _bright(name, np.asarray(picture.convert("RGB")).max(axis=2))
    if picture.mode != "P" and np.isin(values, ids).mean() < 1 - _MOST_BETWEEN:
        raise _not_a_mask(name)
    background = int(ids[0]) if len(ids) > 1 and _is_grey(picture) else 0
    if len(ids) > 1 and background not in ids:
        raise ConfigError(
            f"{name} has no background (black, or entry 0 of the palette); name the object: "
            f"{_choices(picture, ids)}"
        )
    objects = ids[ids != background]
    _ensure_one(name, picture, objects)
    if not len(objects):  # nothing of it is flat: it is thin, or blurred
        return np.asarray(values > (int(values.max()) + background) / 2)
    return _nearer(picture, values, int(objects[0]), background)


def _chosen(name: str, picture: Image.Image, chosen: str) -> MaskArray:
    """The pixels of one id."""
    values = _values(picture)
    if picture.mode == "P" and chosen.startswith("#"):
        values = _values(picture.convert("RGB"))
    number = int(chosen[1:], 16) if chosen.startswith("#") else int(chosen)
    if _is_grey(picture) and chosen.startswith("#"):
        number &= 0xFF
    mask: MaskArray = values == number
    if not mask.any():
        raise ConfigError(f"{name} has no {chosen}; it has {_choices(picture, np.unique(values))}")
    return mask


def _values(picture: Image.Image) -> _Values:
    if picture.mode == "P" or _is_grey(picture):
        plane = picture.getchannel(0) if picture.mode in ("LA", "RGB", "RGBA") else picture
        return np.asarray(plane if plane.mode != "1" else plane.convert("L"))
    red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB"), np.int64), 2, 0)
    colours: _Values = red << 16 | green << 8 | blue
    return colours


def _has_greys(picture: Image.Image) -> bool:
    colours = picture.convert("RGB")
    return _is_grey(colours) and len(np.unique(np.asarray(colours)[..., 0])) > 2


def _is_grey(picture: Image.Image) -> bool:
    """Whether pixels are grey levels, not palette entries or colours."""
    if picture.mode in ("RGB", "RGBA"):
        channels = np.asarray(picture)
        return bool((channels[..., 1:3] == channels[..., :1]).all())
    return picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;")


def _ids(values: _Values, where: MaskArray | None) -> _Values:
    """The values that stand for objects or the background, ascending.

    Of more than two, those that fill a block of 3×3 pixels: others blend two of them. Of a soft
    edge as wide as that, whose shades are many and close, the extremes count.
    """
    used = np.unique(values if where is None else values[where])
    if len(used) <= 2 or used[-1] < _SMALL_IDS:
        return used
    rows = (values[:, :-2] == values[:, 1:-1]) & (values[:, 1:-1] == values[:, 2:])
    centre = values[:, 1:-1]
    flat = rows[:-2] & rows[1:-1] & rows[2:]
    flat &= (centre[:-2] == centre[1:-1]) & (centre[1:-1] == centre[2:])
    if where is not None:
        flat &= where[1:-1, 1:-1]
    ids = np.unique(centre[1:-1][flat])
    largest = int(used[-1])
    if len(used) > _MOST_IDS and 2 * len(ids) < len(used) and largest < 1 << 16:
        return ids[np.diff(ids.astype(np.int64), prepend=-largest - 1) > largest // 16]
    return ids


def _ensure_one(name: str, picture: Image.Image, ids: _Values) -> None:
    if 1 < len(ids) <= _MOST_IDS:
        raise ConfigError(f"{name} holds {len(ids)} objects; name one: {_choices(picture, ids)}")


def _choices(picture: Image.Image, ids: _Values) -> str:
    """How to name the ids: ``FILE:1, FILE:2``."""
    is_number = picture.mode == "P" or _is_grey(picture)
    shown = [f"FILE:{each}" if is_number else f"FILE:#{each:06x}" for each in ids[:8]]
    return ", ".join([*shown, "…"] if len(ids) > 8 else shown)


def _nearer(picture: Image.Image, values: _Values, one: int, background: int) -> MaskArray:
    """The pixels that are nearer to one object's value than to the background's."""
    if picture.mode == "P":
        return np.asarray(values == one)
    if _is_grey(picture):
        return np.asarray(values > (one + background) / 2)
    rgb = np.asarray(picture.convert("RGB"), np.int64)
    colour = np.array([one >> 16, one >> 8 & 255, one & 255])
    return np.asarray(2 * (rgb @ colour) > colour @ colour)


def _bright(name: str, level: _Values, noise: int = 0) -> MaskArray:
    """The pixels above half of the brightest one. Raises ``ConfigError`` for a photograph."""
    brightest = float(level.max())
    if brightest <= noise:
        return np.zeros(level.shape, np.bool_)
    between = np.abs(level - brightest / 2) < brightest / 4
    if between.mean() > _MOST_BETWEEN:
        raise _not_a_mask(name)
    return np.asarray(level > brightest / 2)


def _not_a_mask(name: str) -> ConfigError:
    return ConfigError(f"{name} is a picture in many shades, not a mask: draw one white on black")
