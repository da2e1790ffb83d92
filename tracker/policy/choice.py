"""Chooses a decoder mask for each tracked object, or none.

The mask of the highest predicted IoU, as in SAM 2, unless it suddenly floods the picture.

Dimensions: N objects, 3 masks of each, h w mask grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracker.masks.masks import boxes_of
from tracker.model import DecoderOutput
from tracker.policy.decision import Choice

# A mask floods the picture when its box spans at least this share of both sides, its area has
# jumped by more than this factor, and the network's predicted IoU is below this.
FLOOD_SPAN, FLOOD_JUMP, FLOOD_IOU = 0.9, 4.0, 0.8


def choose(output: DecoderOutput, usual_area_N: Tensor, *, reject_floods: bool) -> Choice:
    """Choose a mask for N objects.

    ``usual_area_N``: share of the picture that the object covered recently, 0 where unknown.
    """
    iou_N3 = output.predicted_iou_N4[:, 1:].float()
    chosen_N = iou_N3.argmax(dim=1)
    if not reject_floods:
        return Choice(1 + chosen_N, torch.ones_like(chosen_N, dtype=torch.bool))
    rows_N = torch.arange(len(chosen_N), device=chosen_N.device)
    mask_Nhw = output.mask_logits_N4hw[rows_N, 1 + chosen_N] > 0
    box_N4 = shares_of(boxes_of(mask_Nhw), mask_Nhw)
    flooded_N = floods(mask_Nhw, box_N4, iou_N3[rows_N, chosen_N], usual_area_N)
    return Choice(1 + chosen_N, ~flooded_N)


def shares_of(box_n4: Tensor, mask_hw: Tensor) -> Tensor:
    """Boxes in cells of a grid (..., h, w) as shares of the picture."""
    height, width = mask_hw.shape[-2:]
    x, y = box_n4[:, 0::2] / width, box_n4[:, 1::2] / height
    return torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)


def floods(mask_Nhw: Tensor, box_N4: Tensor, iou_N: Tensor, usual_area_N: Tensor) -> Tensor:
    """Whether a mask suddenly fills the picture: SAM 2 may return one for an absent object."""
    spans_N = ((box_N4[:, 2:] - box_N4[:, :2]) > FLOOD_SPAN).all(dim=1)
    area_N = mask_Nhw.flatten(1).float().mean(dim=1)
    jumped_N = (area_N > FLOOD_JUMP * usual_area_N) & (usual_area_N > 0)
    return spans_N & jumped_N & (iou_N < FLOOD_IOU)
