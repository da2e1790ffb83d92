"""Writes masks and cut-outs as PNG files; a file appears whole or not at all.

Dimensions: H W of the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from streamer.errors import PictureError
from streamer.types import ImageArray
from tracker.types import MaskArray, Track

# Of a photograph: less than half of the default's time, for 2 % more bytes.
_COMPRESSION = 3


def write_png(path: Path, image: Image.Image) -> None:
    """Save ``image`` at ``path``, replacing it. Raises ``PictureError`` with the reason."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        image.save(partial, "PNG", compress_level=_COMPRESSION)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise PictureError(f"{path} cannot be written: {error.strerror or error}") from error


def mask_image(mask: MaskArray) -> Image.Image:
    """A mask (H, W) as a grey picture: 255 on the object, 0 elsewhere."""
    return Image.fromarray(mask.astype(np.uint8) * np.uint8(255))


def cut_out(
    rgb: ImageArray, track: Track, alpha: npt.NDArray[np.uint8] | None = None
) -> Image.Image:
    """The object's pixels, cropped to its box; transparent elsewhere.

    ``alpha`` (H, W): the picture's own transparency, which is kept. The mask must not be empty.
    """
    x0, y0, x1, y1 = track.box_xyxy
    opacity = track.crop.astype(np.uint8) * np.uint8(255)
    if alpha is not None:
        opacity = np.minimum(opacity, alpha[y0:y1, x0:x1])
    return Image.fromarray(np.dstack((rgb[y0:y1, x0:x1], opacity)))
