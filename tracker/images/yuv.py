"""Decoded YUV pictures to the network's input.

The planes are resized first and converted to RGB afterwards, at the network's size. Both steps are
linear, so the order affects only rounding and clamping. No tensor of the source's size is made.

Dimensions: H W source size, h w that of the chroma planes, S image size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.host_arrays import on_device, view_of
from tracker.images.prepared_image import PreparedImage

Plane = npt.NDArray[np.uint8]
Matrix = Literal["bt601", "bt709"]

# Weights of red and blue in luma: ITU-R BT.601-7 and BT.709-6, items 3.2.
_WEIGHTS: dict[str, tuple[float, float]] = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


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
        if self.matrix not in _WEIGHTS:
            raise ValueError(f"matrix must be one of {', '.join(_WEIGHTS)}, got {self.matrix!r}")
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

    @staticmethod
    def of_nv12(
        luma_HW: Plane, colour_hw2: Plane, matrix: Matrix = "bt709", full_range: bool = False
    ) -> YuvPicture:
        """From a luma plane and one of interleaved chroma, (h, w, 2)."""
        return YuvPicture(luma_HW, colour_hw2[..., 0], colour_hw2[..., 1], matrix, full_range)


def prepare_yuv(picture: YuvPicture, size: int, device: torch.device) -> PreparedImage:
    """Resize (antialiased bicubic, as for RGB images), convert to RGB, on the device.

    On a CPU planes are resized as bytes, elsewhere as float32 after the transfer.
    """
    luma, blue, red = (
        _resized(plane, size, device)
        for plane in (picture.luma_HW, picture.blue_hw, picture.red_hw)
    )
    red_weight, blue_weight = _WEIGHTS[picture.matrix]
    green_weight = 1 - red_weight - blue_weight
    darkest, luma_span, colour_span = (0, 255, 255) if picture.full_range else (16, 219, 224)
    luma = (luma - darkest) * (255 / luma_span)
    more_red = (red - 128) * (255 / colour_span * 2 * (1 - red_weight))
    more_blue = (blue - 128) * (255 / colour_span * 2 * (1 - blue_weight))
    less_green = more_red * (red_weight / green_weight) + more_blue * (blue_weight / green_weight)
    rgb_3SS = torch.stack((luma + more_red, luma - less_green, luma + more_blue))
    pixels_3SS = (rgb_3SS + 0.5).clamp_(0, 255).to(torch.uint8)
    return PreparedImage(pixels_3SS.unsqueeze(0), picture.height, picture.width)


def _resized(plane: Plane, size: int, device: torch.device) -> Tensor:
    if device.type == "cpu":
        pixels_11hw = view_of(plane)[None, None]
    else:
        pixels_11hw = on_device(plane, device)[None, None].float()
    if plane.shape != (size, size):
        pixels_11hw = F.interpolate(pixels_11hw, (size, size), mode="bicubic", antialias=True)
    return pixels_11hw[0, 0].float()
