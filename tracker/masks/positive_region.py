"""Upsample a mask only where it can be positive, which saves most of the frame on a CPU.

Bilinear interpolation is positive only next to a positive cell, so pixels beyond the box of the
positive cells need not be computed. Inside, the result is that of
``tracker.images.transforms.resize_logits``, up to rounding.

Dimensions: h w mask grid, H W source size, r the rows and columns of a region of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from tracker.masks.masks import boxes_of

# Cached axes: two per source size and mask grid; the least recently used one is dropped.
_AXES_KEPT = 128


class MaskRegion(NamedTuple):
    """A rectangular part of a boolean mask and its first source pixel; the rest is empty."""

    x: int
    y: int
    mask_rr: Tensor

    def box_14(self) -> Tensor:
        """Half-open box (1, 4) int64 x0 y0 x1 y1 in the source; all zero for an empty mask."""
        if not self.mask_rr.numel():
            return torch.zeros(1, 4, dtype=torch.int64)
        inside = boxes_of(self.mask_rr[None])
        begin = torch.tensor([[self.x, self.y, self.x, self.y]])
        return inside + begin * (inside[:, 2:3] > 0)

    def area(self) -> int:
        """The number of pixels in the mask."""
        return int(torch.count_nonzero(self.mask_rr))

    def cut(self, box_xyxy: tuple[int, int, int, int]) -> Tensor:
        """The mask inside a box of the source; the region must cover it."""
        x0, y0, x1, y1 = box_xyxy
        if x0 == x1:
            return self.mask_rr[:0, :0]
        return self.mask_rr[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x]


class _Axis(NamedTuple):
    """For each source pixel along one axis: its two neighbouring cells and their weights."""

    low: Tensor
    high: Tensor
    low_weight: Tensor
    high_weight: Tensor

    def reach(self, begin: int, end: int) -> slice:
        """The source pixels influenced by cells ``begin`` to ``end`` (exclusive)."""
        first = int(torch.searchsorted(self.high, begin))
        return slice(first, int(torch.searchsorted(self.low, end)))

    def within(self, pixels: slice) -> _Axis:
        return _Axis(*(column[pixels] for column in self))


def positive_region(logits_hw: Tensor, height: int, width: int) -> MaskRegion:
    """The pixels at which logits (host, float32), upsampled to (height, width), are positive."""
    x, y, values_rr = upsampled_region(logits_hw, height, width)
    return MaskRegion(x, y, values_rr > 0)


def upsampled_region(logits_hw: Tensor, height: int, width: int) -> tuple[int, int, Tensor]:
    """Upsampled logits in a region outside which none is positive: its first x and y, and (r, r).

    ``logits_hw`` on the host, float32, are upsampled to (height, width).
    """
    empty = 0, 0, torch.zeros(0, 0)
    ((x0, y0, x1, y1),) = boxes_of((logits_hw > 0)[None]).tolist()
    if x0 == x1:
        return empty
    all_rows, all_columns = _axis(logits_hw.shape[0], height), _axis(logits_hw.shape[1], width)
    row_slice, column_slice = all_rows.reach(y0, y1), all_columns.reach(x0, x1)
    rows, columns = all_rows.within(row_slice), all_columns.within(column_slice)
    if not rows.low.numel() or not columns.low.numel():  # a source coarser than the grid
        return empty
    first = int(rows.low[0])
    cells = logits_hw[first : int(rows.high[-1]) + 1]
    # Along the row first, as in PyTorch's kernel.
    wide = cells[:, columns.low] * columns.low_weight + cells[:, columns.high] * columns.high_weight
    values = (
        wide[rows.low - first] * rows.low_weight[:, None]
        + wide[rows.high - first] * rows.high_weight[:, None]
    )
    return column_slice.start, row_slice.start, values


@lru_cache(_AXES_KEPT)
def _axis(cells: int, pixels: int) -> _Axis:
    """Half-pixel centres, as with ``align_corners=False``."""
    place = torch.arange(pixels, dtype=torch.float32)
    place = ((place + 0.5) * (cells / pixels) - 0.5).clamp(min=0)
    low = place.long().clamp(max=cells - 1)
    high_weight = (place - low).clamp(0, 1)
    return _Axis(low, (low + 1).clamp(max=cells - 1), 1 - high_weight, high_weight)
