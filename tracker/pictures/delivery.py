"""What a prompt's masks are handed out as: arrays of the picture's size, on the host.

Dimensions: N objects, M masks of each, h w mask grid, H W picture.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracker.pictures.closer_look import Look
from tracker.pictures.full_size import cleaned, full_logits, full_masks
from tracker.pictures.options import PictureOptions

# So that returned logits are a prompt like those of the training.
LOGIT_LIMIT = 32.0


class PictureMasks(NamedTuple):
    """The masks of one prompt; with N objects, every array has a leading dimension N.

    ``masks`` (M, H, W) boolean, or float32 logits on request; ``predicted_iou`` (M) float32, 0..1,
    the network's own estimate; ``low_resolution_logits`` (M, h, w) float32 within ±32, each of
    which may be the ``previous_logits`` of a further prompt.
    """

    masks: npt.NDArray[Any]
    predicted_iou: npt.NDArray[np.float32]
    low_resolution_logits: npt.NDArray[np.float32]

    def alone(self) -> PictureMasks:
        """Those of the only object, without the dimension N."""
        return PictureMasks(*(each[0] for each in self))


def delivered(
    logits_NMhw: Tensor,
    iou_NM: Tensor,
    looks: dict[int, Look],
    size: tuple[int, int],
    options: PictureOptions,
    *,
    as_logits: bool,
) -> PictureMasks:
    """The masks of N objects; those with a closer look get its masks in the first's place."""
    full = _full_logits if as_logits else _full_masks
    outside = -LOGIT_LIMIT if as_logits else False
    masks_NMHW = full(logits_NMhw, *size, options)
    for place, look in looks.items():
        x, y, width, height = look.window
        seen_1MHW = full(look.logits_Mhw[None], height, width, options)
        masks_NMHW[place] = outside
        masks_NMHW[place, :, y : y + height, x : x + width] = seen_1MHW[0]
        logits_NMhw[place] = look.on_whole(*size, outside=-LOGIT_LIMIT)
        iou_NM[place] = look.iou_M
    return PictureMasks(
        masks_NMHW,
        iou_NM.cpu().numpy(),
        logits_NMhw.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).cpu().numpy(),
    )


def _full_masks(
    logits_NMhw: Tensor, height: int, width: int, options: PictureOptions
) -> npt.NDArray[Any]:
    return full_masks(cleaned(logits_NMhw, options), height, width)


def _full_logits(
    logits_NMhw: Tensor, height: int, width: int, options: PictureOptions
) -> npt.NDArray[Any]:
    return full_logits(cleaned(logits_NMhw, options) + options.mask_threshold, height, width)
