"""Tests whether the decoder's other masks show a look-alike (DAM4SAM, arXiv 2411.17576).

Dimensions: N objects, 3 masks of each, h w mask grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.masks.masks import boxes_of


def alone_iou(mask_logits_N4hw: Tensor, chosen_N: Tensor) -> Tensor:
    """Area of the chosen mask's box over that of its union with another mask's box, (N,) 0..1.

    The smallest over the other masks. 1.0: they add nothing. A low value: one of them covers
    something else that resembles the object. DAM4SAM uses an alternative's largest component
    outside the chosen mask; this uses what remains of it after an opening by 3×3 cells, which
    drops the fringe of a different contour and needs no labelling of components.
    """
    shown_N3hw = mask_logits_N4hw[:, 1:] > 0
    rows_N = torch.arange(len(chosen_N), device=chosen_N.device)
    mask_N1hw = shown_N3hw[rows_N, chosen_N - 1].unsqueeze(1)
    extra_N3hw = opened(shown_N3hw & ~mask_N1hw)
    box_N14 = boxes_of(mask_N1hw.flatten(0, 1)).unsqueeze(1)
    box_N34 = boxes_of((extra_N3hw | mask_N1hw).flatten(0, 1)).unflatten(0, (-1, 3))
    area_N3 = (box_N34[..., 2:] - box_N34[..., :2]).prod(dim=2)
    own_N1 = (box_N14[..., 2:] - box_N14[..., :2]).prod(dim=2)
    share_N3: Tensor = own_N1 / area_N3.clamp(min=1)
    return share_N3.amin(dim=1).float()


def opened(mask_nhw: Tensor) -> Tensor:
    """Masks without parts thinner than 3 cells; any leading dimensions."""
    flat = mask_nhw.flatten(0, -3).unsqueeze(1).float()
    eroded = -F.max_pool2d(-flat, 3, stride=1, padding=1)
    return (F.max_pool2d(eroded, 3, stride=1, padding=1) > 0)[:, 0].view_as(mask_nhw)
