"""Masks packed to bits: an eighth of the bytes to transfer from a device, of fixed size.

The size does not depend on the masks' boxes, so numbers and masks need only one transfer.
Dimensions: n objects of a frame, H W source size, w bytes of a row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.types import MaskArray


def pack_bits(mask_nHW: Tensor) -> Tensor:
    """Boolean (n, H, W) -> uint8 (n, H, ceil(W / 8)), the leftmost pixel in the highest bit."""
    padded_nHw8 = F.pad(mask_nHW.view(torch.uint8), (0, -mask_nHW.shape[2] % 8)).unflatten(
        2, (-1, 8)
    )
    packed: Tensor = padded_nHw8[..., 0] << 7
    for place in range(1, 8):
        packed |= padded_nHw8[..., place] << (7 - place)
    return packed


def cut_bits(bits_Hw: npt.NDArray[np.uint8], box_xyxy: tuple[int, int, int, int]) -> MaskArray:
    """The mask inside a box, unpacked from the bytes that the box touches."""
    x0, y0, x1, y1 = box_xyxy
    first = x0 // 8
    inside = np.unpackbits(bits_Hw[y0:y1, first : -(-x1 // 8)], axis=1)
    return inside[:, x0 - 8 * first : x1 - 8 * first].astype(np.bool_)
