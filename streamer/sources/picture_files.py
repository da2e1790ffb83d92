"""Reads picture files of any kind as the RGB that a viewer shows, and lists those of a folder.

Dimensions: H W of the picture.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from streamer.errors import PictureError
from streamer.types import ImageArray

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".avif", ".jp2", ".ppm", ".pgm", ".pnm", ".tga"),
    )
)
# More than any camera's sensor of 35 mm; 0.4 GB as RGB. Pillow alone warns from 2/3 of it on.
MOST_PIXELS = 1 << 27
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True, eq=False)
class PictureFile:
    """A picture from a file, turned upright as its EXIF orientation says.

    ``rgb`` uint8 (H, W, 3), on white where the file is transparent; ``alpha`` uint8 (H, W), None
    for an opaque picture.
    """

    rgb: ImageArray
    alpha: npt.NDArray[np.uint8] | None = None


def read_picture(path: Path) -> PictureFile:
    """Read one file; 16 bits, grey, palettes, alpha and CMYK become RGB of 8 bits.

    Numbers without a defined range (32 bits, floats) are stretched from their least to their
    largest. Raises ``PictureError`` with the path and the reason.
    """
    try:
        if path.exists() and not path.is_file():
            raise PictureError(f"{path} is not a file")
        with warnings.catch_warnings():
            # Of many pixels: the limit here is stated.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path)
        with opened as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise PictureError(
                    f"{path} is too large: {width}×{height} pixels, at most "
                    f"{MOST_PIXELS / 1e6:.0f} million; make it smaller first"
                )
            frames = getattr(picture, "n_frames", 1)
            if frames > 1 and picture.format != "MPO":  # a photograph with its preview
                raise PictureError(
                    f"{path} holds {frames} pictures; save one of them alone, or read it as a clip"
                )
            return _shown(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # What Pillow's decoders raise on damaged files.
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnidentifiedImageError):  # its message repeats the path
            reason = "its content is of no known format"
        raise PictureError(f"{path} is not a readable picture: {reason}") from error


def picture_files(folder: Path) -> list[Path]:
    """The pictures directly in a folder, as ``files_with`` sorts them.

    Raises ``PictureError`` without any.
    """
    files = files_with(SUFFIXES, folder)
    if not files:
        raise PictureError(
            f"{folder} holds no picture; they are recognised by their names: "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return files


def files_with(suffixes: Collection[str], folder: Path) -> list[Path]:
    """The files directly in a folder that end so, by name, numbers in it by value; not hidden ones.

    Raises ``PictureError`` for a folder that cannot be read.
    """
    try:
        files = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
        ]
    except OSError as error:
        raise PictureError(f"{folder} is not a readable folder: {error.strerror}") from error
    return sorted(files, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """``2.jpg`` before ``10.jpg``."""
    parts = _NUMBER.split(path.name)
    numbers = [(int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts)]
    return numbers, path.name


def _shown(picture: Image.Image) -> PictureFile:
    if picture.mode.startswith("I;16"):
        return _grey(np.asarray(picture) / 257)
    if picture.mode in ("I", "F"):
        return _grey(_stretched(np.asarray(picture, np.float64)))
    if not picture.has_transparency_data:
        return PictureFile(np.asarray(picture.convert("RGB")))
    rgba = picture.convert("RGBA")
    alpha = np.asarray(rgba.getchannel("A"))
    if alpha.min() == 255:
        return PictureFile(np.asarray(rgba.convert("RGB")))
    white = Image.new("RGBA", rgba.size, "white")
    return PictureFile(np.asarray(Image.alpha_composite(white, rgba).convert("RGB")), alpha)


def _stretched(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    finite = values[np.isfinite(values)]
    least, most = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    scaled = (values - least) * (255 / max(most - least, np.finfo(np.float64).tiny))
    return np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)


def _grey(level_HW: npt.NDArray[np.float64]) -> PictureFile:
    level = (level_HW + 0.5).clip(0, 255).astype(np.uint8)
    return PictureFile(np.repeat(level[:, :, None], 3, axis=2))
