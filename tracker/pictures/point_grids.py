"""Where a picture is searched: grids of points, and crops by layer.

Both follow the reference's generator to the pixel, since other points find other masks.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

PointGrid = npt.NDArray[np.float64]  # (K, 2), x and y in shares of the crop's width and height


class Crop(NamedTuple):
    """A part of the picture, half-open, and its layer; layer 0 is the whole picture."""

    box_xyxy: tuple[int, int, int, int]
    layer: int


def point_grid(points_per_side: int) -> PointGrid:
    """The centres of points_per_side² equal cells, row by row."""
    centres = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = np.meshgrid(centres, centres)
    return np.stack((x.ravel(), y.ravel()), axis=1)


def layered_grids(points_per_side: int, layers: int, downscale_factor: int) -> list[PointGrid]:
    """The grid of each layer from 0 on; a side has at least one point."""
    return [
        point_grid(max(1, int(points_per_side / downscale_factor**layer)))
        for layer in range(layers + 1)
    ]


def crops_of(height: int, width: int, layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole picture, then layer by layer its 2^layer × 2^layer crops, column by column.

    Crops of the first layer overlap by ``overlap_ratio`` of the picture's shorter side, those of
    deeper ones by less in proportion to their size. Very small pictures have fewer crops: those
    without pixels are left out.
    """
    crops = [Crop((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / side))
        crop_width, crop_height = (
            math.ceil((overlap * (side - 1) + length) / side) for length in (width, height)
        )
        for column, row in product(range(side), repeat=2):
            x0, y0 = (crop_width - overlap) * column, (crop_height - overlap) * row
            x1, y1 = min(x0 + crop_width, width), min(y0 + crop_height, height)
            if x0 < x1 and y0 < y1:
                crops.append(Crop((x0, y0, x1, y1), layer))
    return crops
