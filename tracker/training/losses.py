"""The paper's losses on raw mask logits: focal, dice, IoU (L1), and occlusion (cross-entropy).

Logits are supervised before gating: the value -1024 for absent objects at inference would block the
mask's gradient whenever the object score is wrong.

Dimensions: N objects, M masks of an output, h w mask grid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.model.mask_decoder import DecoderOutput
from tracker.training.recipe import LossWeights

_FOCAL_POSITIVE_WEIGHT = 0.5
_FINER = 2
"""Masks are compared on a grid this much finer than the decoder's, where its logits were
interpolated as the tracker does. On the decoder's own grid the best answer is the covered share
of each cell, and that, enlarged, has at most J 0.72 on the match's players; this way it is 0.84.
"""
_BARELY_VISIBLE_PIXELS = 12


class FrameLoss(NamedTuple):
    """Mean losses of one decoded frame; ``iou``: mean IoU of the chosen masks."""

    total: Tensor
    mask: Tensor
    score: Tensor
    iou: Tensor


def shrink(masks_NSS: Tensor, side: int) -> Tensor:
    """True masks on a coarser grid, as covered fractions, (N, side, side) float."""
    return F.adaptive_avg_pool2d(masks_NSS.float().unsqueeze(1), side).squeeze(1)


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """IoU of two stacks of boolean masks over their last two dimensions; 1 if both are empty."""
    overlap = (first & second).sum(dim=(-2, -1))
    union = (first | second).sum(dim=(-2, -1))
    return (overlap + 1e-6) / (union + 1e-6)


def frame_loss(
    output: DecoderOutput,
    masks_NSS: Tensor,
    counted_N: Tensor,
    single_N: Tensor,
    weights: LossWeights,
) -> FrameLoss:
    """Losses of a frame.

    ``single_N``: the prompt was unambiguous (a box, or two or more points), so mask 0 is trained;
    otherwise the best of masks 1..3 (and, with a small weight, all three). Objects that do not
    count or have only a few pixels, and masks of invisible objects, have no weight.
    """
    side = min(_FINER * output.mask_logits_N4hw.shape[-1], masks_NSS.shape[-1])
    logits = F.interpolate(
        output.mask_logits_N4hw.float(), (side, side), mode="bilinear", align_corners=False
    )
    target = shrink(masks_NSS, side)
    area = masks_NSS.sum(dim=(1, 2))
    visible = area > 0
    counted_N = counted_N & (~visible | (area >= _BARELY_VISIBLE_PIXELS))
    per_mask = _mask_losses(logits, target, weights)
    with torch.no_grad():
        iou_N4 = intersection_over_union(logits > 0, target.unsqueeze(1) > 0.5)
    best = per_mask[:, 1:].detach().argmin(dim=1) + 1
    chosen = torch.where(single_N, 0, best).unsqueeze(1)
    multiple = per_mask.gather(1, chosen).squeeze(1) + weights.all_masks * per_mask[:, 1:].mean(1)
    mask_N = torch.where(single_N, per_mask[:, 0], multiple)

    iou_error = (output.predicted_iou_N4 - iou_N4).abs()
    iou_loss_N = torch.where(single_N, iou_error[:, 0], iou_error[:, 1:].mean(1))
    score_N = F.binary_cross_entropy_with_logits(
        output.object_score_logit_N1.squeeze(1), visible.float(), reduction="none"
    )
    seen = (counted_N & visible).float()
    counted = counted_N.float()
    seen_count, count = seen.sum().clamp(min=1), counted.sum().clamp(min=1)
    mask = (mask_N * seen).sum() / seen_count
    # Every mask of an absent object is wrong, so the target of its predicted IoU is 0.
    absent = (counted_N & ~visible).float()
    absent_N = output.predicted_iou_N4[:, 1:].abs().mean(1)
    iou_loss = (iou_loss_N * seen).sum() / seen_count
    iou_loss = iou_loss + weights.absent_iou * (absent_N * absent).sum() / absent.sum().clamp(min=1)
    score = (score_N * counted).sum() / count
    picked = torch.where(single_N, 0, output.predicted_iou_N4[:, 1:].argmax(1) + 1).unsqueeze(1)
    reached = (iou_N4.gather(1, picked).squeeze(1) * seen).sum() / seen_count
    total = mask + weights.iou * iou_loss + weights.occlusion * score
    return FrameLoss(total, mask.detach(), score.detach(), reached)


def _mask_losses(logits_NMhw: Tensor, target_Nhw: Tensor, weights: LossWeights) -> Tensor:
    """Weighted focal, dice and cross-entropy of every mask, (N, M)."""
    target = target_Nhw.unsqueeze(1).expand_as(logits_NMhw)
    entropy = F.binary_cross_entropy_with_logits(logits_NMhw, target, reduction="none")
    probability = logits_NMhw.sigmoid()
    miss = (probability - target).abs()
    balance = _FOCAL_POSITIVE_WEIGHT * target + (1 - _FOCAL_POSITIVE_WEIGHT) * (1 - target)
    focal = (2 * balance * miss.square() * entropy).mean(dim=(2, 3))
    overlap = (probability * target).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)
    plain = entropy.mean(dim=(2, 3))
    return weights.focal * focal + weights.dice * dice + weights.cross_entropy * plain
