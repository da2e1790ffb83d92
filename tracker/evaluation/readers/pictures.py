"""Pictures and index maps from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

PICTURES = (".jpg", ".jpeg", ".png", ".JPEG", ".JPG")


def picture_files(directory: Path) -> list[Path]:
    """The pictures of a folder in the order of their names; ValueError if there is none."""
    files = sorted(path for path in directory.iterdir() if path.suffix in PICTURES)
    if not files:
        raise ValueError(f"{directory}: no picture inside; expected *.jpg or *.png")
    return files


def load_picture(path: Path) -> npt.NDArray[np.uint8]:
    """RGB uint8 (H, W, 3)."""
    return np.array(_opened(path).convert("RGB"))


def load_indexes(path: Path) -> npt.NDArray[np.uint8]:
    """A map of object ids, (H, W) uint8: a PNG with a palette, or a grey one.

    Raises ValueError for a picture in colours.
    """
    image = _opened(path)
    if image.mode not in ("P", "L", "1"):
        raise ValueError(
            f"{path}: expected a PNG with a palette or in grey, whose values are object ids; "
            f"it is {image.mode}"
        )
    return np.asarray(image.convert("L") if image.mode == "1" else image, dtype=np.uint8)


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise
    except OSError as error:  # no picture, or one that was cut off: PIL does not say which file
        raise ValueError(f"{path}: not a picture that can be read: {error}") from error
    return image
