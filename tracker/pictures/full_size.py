"""Low-resolution logits to masks of the picture's size, one at a time: pictures can be large.

Dimensions: N objects, M masks of each, h w mask grid, H W picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracker.images.transforms import resize_logits
from tracker.masks.masks import fill_holes
from tracker.masks.positive_region import positive_region
from tracker.pictures.options import PictureOptions


def cleaned(logits_NMhw: Tensor, options: PictureOptions) -> Tensor:
    """Logits relative to the threshold, without the small holes and specks."""
    above = logits_NMhw.flatten(0, 1).unsqueeze(1) - options.mask_threshold
    above = fill_holes(above, options.fill_hole_area)
    if options.remove_speck_area:
        above = -fill_holes(-above, options.remove_speck_area)
    return above.view(logits_NMhw.shape)


def full_masks(above_NMhw: Tensor, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Boolean (N, M, H, W) on the host, true where ``above_NMhw``, upsampled, is positive."""
    masks = np.zeros((*above_NMhw.shape[:2], height, width), np.bool_)
    for place in np.ndindex(masks.shape[:2]):
        above_hw = above_NMhw[place]
        if above_hw.device.type == "cpu":
            x, y, mask_rr = positive_region(above_hw, height, width)
            rows, columns = mask_rr.shape
            masks[place][y : y + rows, x : x + columns] = mask_rr.numpy()
        else:
            masks[place] = (resize_logits(above_hw[None, None], height, width) > 0)[0, 0].cpu()
    return masks


def full_logits(logits_NMhw: Tensor, height: int, width: int) -> npt.NDArray[Any]:
    """Float32 (N, M, H, W) on the host."""
    return resize_logits(logits_NMhw, height, width).cpu().numpy()
