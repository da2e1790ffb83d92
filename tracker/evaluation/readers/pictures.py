"""Pictures and index maps from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

PICTURES = (".jpg", ".jpeg", ".png", ".JPEG", ".JPG")


def picture_files(directory: Path) -> list[Path]:
    """The pictures of a folder, sorted by name; ValueError if there is none."""
    files = sorted(path for path in directory.iterdir() if path.suffix in PICTURES)
    if not files:
        raise ValueError(f"{directory}: no picture inside; expected *.jpg or *.png")
    return files


def load_picture(path: Path) -> npt.NDArray[np.uint8]:
    """RGB uint8 (H, W, 3)."""
    return np.array(_opened(path).convert("RGB"))


def load_indexes(path: Path) -> npt.NDArray[np.uint8]:
    """A map of object ids, (H, W) uint8, from a palette or grey PNG.

    Raises ValueError for a colour picture.
    """
    image = _opened(path)
    if image.mode not in ("P", "L", "1"):
        raise ValueError(
            f"{path}: expected a palette or grey PNG whose values are object ids, got mode "
            f"{image.mode}"
        )
    return np.asarray(image.convert("L") if image.mode == "1" else image, dtype=np.uint8)


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise
    except OSError as error:  # not a picture, or truncated; PIL does not name the file
        raise ValueError(f"{path}: cannot be read as a picture: {error}") from error
    return image
