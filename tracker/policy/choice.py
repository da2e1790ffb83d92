"""Which of the decoder's masks is taken for each tracked object, and whether any is.

Predicted IoU alone, as SAM 2 has it, follows whoever looks most like the object. Here the place
where it is expected counts too (SAMURAI), objects of one stream compete for regions, and a mask
that floods the picture is refused. Rows meet only rows of their own stream.

Dimensions: N objects, 3 masks of each, h w mask grid, L cells compared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.masks.masks import boxes_of
from tracker.model import DecoderOutput
from tracker.policy.decision import Choice
from tracker.policy.motion import box_iou
from tracker.policy.options import RobustOptions

# Masks are compared on a grid of at most this side: who owns a region shows at any resolution.
COMPARED_SIDE = 64
# Masks that overlap by more are of one region, which has one owner.
ONE_REGION_IOU = 0.5
# Rounds in which those who lost a region look for another; losers of losers need one each.
ROUNDS = 3
# A mask floods the picture when its box spans so much of both sides, its area has jumped so
# many times over what was usual, and the network is not sure of it.
FLOOD_SPAN, FLOOD_JUMP, FLOOD_IOU = 0.9, 4.0, 0.8


class Expectation(NamedTuple):
    """What is known of N objects before the frame is looked at.

    ``box_N4``: where each is expected, in shares of the picture; meaningful where ``known_N``.
    ``steady_N``: seen long enough for that to count in the choice. ``usual_area_N``: share of
    the picture that it covered lately, 0 where unknown. ``stream_N``: objects of one stream have
    one number; ``object_N``: so have paths of one object.
    """

    box_N4: Tensor
    known_N: Tensor
    steady_N: Tensor
    usual_area_N: Tensor
    stream_N: Tensor
    object_N: Tensor


def choose(
    output: DecoderOutput, expected: Expectation, options: RobustOptions, several: bool
) -> Choice:
    """Choose for N objects; ``several``: some stream has more than one of them."""
    mask_N3hw = output.mask_logits_N4hw[:, 1:] > 0
    iou_N3 = output.predicted_iou_N4[:, 1:].float()
    box_N34 = shares_of(boxes_of(mask_N3hw.flatten(0, 1)), mask_N3hw).unflatten(0, (-1, 3))
    near_N3 = box_iou(expected.box_N4[:, None], box_N34) * expected.known_N[:, None]
    weight_N1 = (options.motion_weight * expected.steady_N)[:, None]
    score_N3 = weight_N1 * near_N3 + (1 - weight_N1) * iou_N3
    shown_N = torch.ones_like(expected.steady_N)
    if options.competition and several:
        present_N = output.object_score_logit_N1[:, 0] > 0
        lost_N3 = lost_regions(mask_N3hw, iou_N3 + near_N3, present_N, expected)
        score_N3 = score_N3 - 10 * lost_N3
        shown_N = ~lost_N3.all(dim=1)
    chosen_N = score_N3.argmax(dim=1)
    if options.reject_floods:
        rows_N = torch.arange(len(chosen_N), device=chosen_N.device)
        shown_N = shown_N & ~floods(
            mask_N3hw[rows_N, chosen_N],
            box_N34[rows_N, chosen_N],
            iou_N3[rows_N, chosen_N],
            expected.usual_area_N,
        )
    return Choice(1 + chosen_N, shown_N)


def shares_of(box_n4: Tensor, mask_hw: Tensor) -> Tensor:
    """Boxes in cells of a grid (..., h, w) as shares of the picture."""
    height, width = mask_hw.shape[-2:]
    x, y = box_n4[:, 0::2] / width, box_n4[:, 1::2] / height
    return torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)


def floods(mask_Nhw: Tensor, box_N4: Tensor, iou_N: Tensor, usual_area_N: Tensor) -> Tensor:
    """Whether a mask fills the picture out of nothing: what SAM 2 may give for an object gone."""
    spans_N = ((box_N4[:, 2:] - box_N4[:, :2]) > FLOOD_SPAN).all(dim=1)
    area_N = mask_Nhw.flatten(1).float().mean(dim=1)
    jumped_N = (area_N > FLOOD_JUMP * usual_area_N) & (usual_area_N > 0)
    return spans_N & jumped_N & (iou_N < FLOOD_IOU)


def lost_regions(
    mask_N3hw: Tensor, claim_N3: Tensor, present_N: Tensor, expected: Expectation
) -> Tensor:
    """Whose masks (N, 3) lie on a region that another object of the stream has more claim to.

    Everybody takes the best of what is left, and gives way where a stronger claim stands, for
    some rounds. Ties go to the row that comes first.
    """
    count = len(claim_N3)
    device = claim_N3.device
    rows_N = torch.arange(count, device=device)
    overlap_N3N3 = _mask_iou(mask_N3hw)
    stream_N, object_N = expected.stream_N, expected.object_N
    meet_NN = (stream_N[:, None] == stream_N) & (object_N[:, None] != object_N) & present_N
    first_NN = rows_N[:, None] > rows_N
    lost_N3 = torch.zeros_like(claim_N3, dtype=torch.bool)
    for _ in range(ROUNDS):
        chosen_N = (claim_N3 - 10 * lost_N3).argmax(dim=1)
        theirs_N = claim_N3[rows_N, chosen_N]
        stronger_N3N = (theirs_N > claim_N3[..., None]) | (
            (theirs_N == claim_N3[..., None]) & first_NN[:, None]
        )
        overlap_N3N = overlap_N3N3[:, :, rows_N, chosen_N]
        standing_N = ~lost_N3[rows_N, chosen_N]
        taken_N3N = (overlap_N3N > ONE_REGION_IOU) & stronger_N3N
        lost_N3 = (taken_N3N & (meet_NN & standing_N)[:, None]).any(dim=2)
    return lost_N3


def _mask_iou(mask_N3hw: Tensor) -> Tensor:
    """IoU (N, 3, N, 3) of all masks with all."""
    compared = mask_N3hw.flatten(0, 1).unsqueeze(1).float()
    if compared.shape[-1] > COMPARED_SIDE:
        compared = F.adaptive_max_pool2d(compared, COMPARED_SIDE)
    flat_nL = compared.flatten(1)
    common_nn = flat_nL @ flat_nL.T
    area_n = flat_nL.sum(dim=1)
    total_nn = area_n[:, None] + area_n - common_nn
    iou_nn: Tensor = common_nn / total_nn.clamp(min=1)
    iou_N3N3: Tensor = iou_nn.unflatten(0, (-1, 3)).unflatten(2, (-1, 3))
    return iou_N3N3
