"""A picture's number, written into its pixels so that it survives video codecs and scaling.

Along the upper edge lies a row of cells. Each bit of the number's Gray code takes two of them,
one black and one white, and which comes first is the bit: so a cell is only ever compared with its
neighbour, a picture without a number is distinguished from one with it, and a picture blended of
two successive ones reads as either of them or as none. `frame_counter.js` reads the same in a page.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ImageArray = npt.NDArray[np.uint8]

BITS = 10
CELLS = 2 * BITS
# The strip takes a 15th of the height: 24 rows of 360, and 6 of 90 where a sender halves twice.
HEIGHT_SHARE = 1 / 15
# Grey levels between the two cells of a bit, of the 219 that were painted.
_SMALLEST_CONTRAST = 60
_BLACK, _WHITE = 18, 237


def strip_height(picture_height: int) -> int:
    """Rows that the number covers."""
    return round(picture_height * HEIGHT_SHARE)


def stamp(image: ImageArray, number: int) -> None:
    """Paint ``number`` into ``image`` (H, W, 3), in place."""
    if not 0 <= number < 1 << BITS:
        raise ValueError(f"number must be between 0 and {(1 << BITS) - 1}, got {number}")
    height, width = image.shape[:2]
    gray = number ^ (number >> 1)
    for cell in range(CELLS):
        bit = gray >> (BITS - 1 - cell // 2) & 1
        left, right = (round(edge * width / CELLS) for edge in (cell, cell + 1))
        image[: strip_height(height), left:right] = _WHITE if bit ^ (cell % 2) else _BLACK


def read(image: ImageArray) -> int | None:
    """The number in ``image`` (H, W, 3) or (H, W) of any size; None when there is none."""
    height, width = image.shape[:2]
    cell_width, rows = width / CELLS, height * HEIGHT_SHARE
    top, bottom = round(0.3 * rows), max(round(0.7 * rows), round(0.3 * rows) + 1)
    levels = [
        float(
            image[
                top:bottom, round((cell + 0.3) * cell_width) : round((cell + 0.7) * cell_width)
            ].mean()
        )
        for cell in range(CELLS)
    ]
    number = 0
    for first, second in zip(levels[::2], levels[1::2], strict=True):
        if abs(first - second) < _SMALLEST_CONTRAST:
            return None
        # Gray to binary: each bit is the one before it, turned if the code's bit is set.
        number = number << 1 | ((number & 1) ^ (first > second))
    return number
