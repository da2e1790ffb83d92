"""Decoded YUV pictures, as a decoder's planes.

Dimensions: H W source size, h w that of the chroma planes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
Matrix = Literal["bt601", "bt709"]

# Weights of red and blue in luma: ITU-R BT.601-7 and BT.709-6, items 3.2.
LUMA_WEIGHTS: dict[str, tuple[float, float]] = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


@dataclass(frozen=True, slots=True, eq=False)
class YuvPicture:
    """One 4:2:0 picture as uint8 planes: luma, and chroma at half the rows and columns.

    Planes may be views with gaps between their rows. ``matrix``: the colour matrix.
    ``full_range``: values span 0 to 255 instead of 16 to 235 (240).
    Raises ValueError if the planes' shapes do not fit together.
    """

    luma_HW: Plane
    blue_hw: Plane
    red_hw: Plane
    matrix: Matrix = "bt709"
    full_range: bool = False

    def __post_init__(self) -> None:
        if self.matrix not in LUMA_WEIGHTS:
            raise ValueError(
                f"matrix must be one of {', '.join(LUMA_WEIGHTS)}, got {self.matrix!r}"
            )
        planes = (self.luma_HW, self.blue_hw, self.red_hw)
        if any(plane.dtype != np.uint8 or plane.ndim != 2 or not plane.size for plane in planes):
            raise ValueError(
                "planes must be uint8 (rows, columns), got "
                + ", ".join(f"{plane.dtype} {plane.shape}" for plane in planes)
            )
        half = tuple(-(-side // 2) for side in self.luma_HW.shape)
        if not self.blue_hw.shape == self.red_hw.shape == half:
            raise ValueError(
                f"chroma planes of a picture of {self.luma_HW.shape} must be {half}, got "
                f"{self.blue_hw.shape} and {self.red_hw.shape}"
            )

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.luma_HW.shape[0])

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return int(self.luma_HW.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the planes, without gaps between rows."""
        return self.luma_HW.nbytes + self.blue_hw.nbytes + self.red_hw.nbytes

    def part(self, x: int, y: int, width: int, height: int) -> YuvPicture:
        """A part of it, without a copy; at odd places colours are off by half of their pixel."""
        luma_HW = self.luma_HW[y : y + height, x : x + width]
        rows = slice(y // 2, y // 2 - (-height // 2))
        columns = slice(x // 2, x // 2 - (-width // 2))
        return replace(
            self,
            luma_HW=luma_HW,
            blue_hw=self.blue_hw[rows, columns],
            red_hw=self.red_hw[rows, columns],
        )

    @staticmethod
    def of_nv12(
        luma_HW: Plane, colour_hw2: Plane, matrix: Matrix = "bt709", full_range: bool = False
    ) -> YuvPicture:
        """From a luma plane and one of interleaved chroma, (h, w, 2)."""
        return YuvPicture(luma_HW, colour_hw2[..., 0], colour_hw2[..., 1], matrix, full_range)
