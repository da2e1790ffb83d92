"""The part of a picture that is looked at closer: where it is, and prompts and masks moved there.

A part is looked at mirrored too: the mean of both views is better than either.

Dimensions: K points, M masks, h w mask grid, S side of a square grid over the whole picture.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.model.prompt_encoder import BOX_FIRST, BOX_LAST, PADDING

# A network that sees fewer pixels than this of a side looks closer at what is small.
SMALL_VIEW = 512
# Parts encoded as one batch: the memory of an encoder is bounded.
AT_ONCE = 8
# The ways to look at a part: as it is, and mirrored.
WAYS = (False, True)
# The part's side over the longer one of the box, and over that of a mask, which may be too small.
_AROUND_BOX, _AROUND_MASK = 1.25, 1.5
# A part is worth another look if it is at most this share of the picture, and large enough to be
# more than a blur, as a share of the picture's longer side.
_LARGEST_SHARE, _SMALLEST_SIDE = 0.7, 0.1
# The share of a mask's cells that its box leaves out on each side: specks far from the rest.
_BEYOND = 0.03

Points = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Window(NamedTuple):
    """A part of a picture, in its pixels."""

    x: int
    y: int
    width: int
    height: int

    def contains(self, points_K2: Points) -> npt.NDArray[np.bool_]:
        """Which points (x, y) in pixels of the picture lie in it."""
        own_K2 = points_K2 - self[:2]
        inside_K2: npt.NDArray[np.bool_] = np.logical_and(own_K2 >= 0, own_K2 < self[2:])
        return np.logical_and(inside_K2[:, 0], inside_K2[:, 1])

    def prompt(
        self, points_K2: Points, labels_K: Labels, *, mirrored: bool
    ) -> tuple[Points, Labels]:
        """A prompt's points as shares (0..1) of the part; those beside the object outside it go."""
        beyond_K = (labels_K == 0) & ~self.contains(points_K2)
        shares_K2 = ((points_K2 - self[:2]) / np.array(self[2:], np.float32)).astype(np.float32)
        if mirrored:
            shares_K2[:, 0] = 1 - shares_K2[:, 0]
            corners = (labels_K == BOX_FIRST) | (labels_K == BOX_LAST)
            shares_K2[corners, 0] = shares_K2[corners, 0][::-1]
        return shares_K2, np.where(beyond_K, PADDING, labels_K)

    def on_whole(
        self, logits_Mhw: Tensor, height: int, width: int, side: int, outside: float
    ) -> Tensor:
        """Logits of the part on a grid (M, S, S) over the picture, ``outside`` it a constant."""
        cells = (torch.arange(side, device=logits_Mhw.device) + 0.5) / side
        x_S = (cells * width - self.x) / self.width * 2 - 1
        y_S = (cells * height - self.y) / self.height * 2 - 1
        grid_1SS2 = torch.stack(torch.meshgrid(y_S, x_S, indexing="ij")[::-1], dim=-1)[None]
        within_MSS = F.grid_sample(
            logits_Mhw[None], grid_1SS2, padding_mode="border", align_corners=False
        )[0]
        inside_SS = (grid_1SS2[0].abs() <= 1).all(dim=-1)
        return torch.where(inside_SS, within_MSS, outside)


def whole(height: int, width: int) -> Window:
    """All of a picture."""
    return Window(0, 0, width, height)


def has_box(labels_K: Labels) -> bool:
    """Whether a prompt says where its object is without a first look."""
    return bool((labels_K == BOX_FIRST).any())


def window_of(
    points_K2: Points, labels_K: Labels, mask_hw: Tensor | None, height: int, width: int
) -> Window | None:
    """The part around a prompt's box, or without a box around the first look's mask.

    ``points_K2`` in pixels of the picture; ``mask_hw``, boolean, may be None where there is a box.
    None if another look would show no more, or not all of what is prompted.
    """
    if has_box(labels_K):
        box = points_K2[(labels_K == BOX_FIRST) | (labels_K == BOX_LAST)].reshape(4)
        window = _around(box, _AROUND_BOX, height, width)
    else:
        assert mask_hw is not None, "a click needs a first look"
        bounds = _bounds(mask_hw.cpu().numpy(), height, width)
        window = None if bounds is None else _around(bounds, _AROUND_MASK, height, width)
    if window is None or not window.contains(points_K2[labels_K == 1]).all():
        return None
    return window


def _around(box_xyxy: Points, around: float, height: int, width: int) -> Window | None:
    """A square around a box, as far as the picture reaches."""
    x0, y0, x1, y1 = np.clip(box_xyxy, 0, (width, height, width, height)).tolist()
    side = max(around * max(x1 - x0, y1 - y0), _SMALLEST_SIDE * max(height, width), 1.0)
    columns, rows = min(round(side), width), min(round(side), height)
    if columns < 1 or rows < 1 or columns * rows > _LARGEST_SHARE * height * width:
        return None
    x, y = (x0 + x1 - columns) / 2, (y0 + y1 - rows) / 2
    return Window(
        round(min(max(x, 0), width - columns)), round(min(max(y, 0), height - rows)), columns, rows
    )


def _bounds(mask_hw: npt.NDArray[np.bool_], height: int, width: int) -> Points | None:
    """The box of nearly all of a mask's cells in the picture's pixels."""
    place_2n = np.sort(np.nonzero(mask_hw), axis=1)[::-1]  # x, y
    count = place_2n.shape[1]
    if not count:
        return None
    left_out = int(_BEYOND * count)
    cells = np.concatenate((place_2n[:, left_out], place_2n[:, count - 1 - left_out] + 1))
    shares = cells / len(mask_hw)
    return (shares * (width, height, width, height)).astype(np.float32)
