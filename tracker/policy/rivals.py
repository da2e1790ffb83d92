"""The mask that was not taken: what an object may be besides what it was taken for.

Dimensions: N objects, 3 masks of each, h w mask grid, C width of a pointer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tracker.model import DecoderOutput, Sam2
    from tracker.policy.decision import Choice

# Two masks of one object that overlap by less are two opinions about where it is.
DISAGREE_IOU = 0.3


class Rival(NamedTuple):
    """The best of the decoder's masks that disagree with the one that was chosen.

    ``overlap_N``: their IoU; 1 where none disagrees, and nothing else counts then.
    """

    logits_N1hw: Tensor
    predicted_iou_N: Tensor
    overlap_N: Tensor
    pointer_NC: Tensor


def rival_of(model: Sam2, output: DecoderOutput, choice: Choice) -> Rival:
    """Of N objects that were tracked."""
    shown_N3hw = output.mask_logits_N4hw[:, 1:] > 0
    rows_N = torch.arange(len(choice.mask_N), device=choice.mask_N.device)
    own_N1hw = shown_N3hw[rows_N, choice.mask_N - 1].unsqueeze(1)
    common_N3 = (shown_N3hw & own_N1hw).flatten(2).sum(dim=2)
    union_N3 = (shown_N3hw | own_N1hw).flatten(2).sum(dim=2)
    overlap_N3 = common_N3 / union_N3.clamp(min=1)
    there_N3 = shown_N3hw.flatten(2).any(dim=2) & (overlap_N3 < DISAGREE_IOU)
    iou_N3 = output.predicted_iou_N4[:, 1:].float()
    best_N = (iou_N3 - 10 * ~there_N3).argmax(dim=1)
    overlap_N = torch.where(there_N3[rows_N, best_N], overlap_N3[rows_N, best_N], 1.0)
    seen_N = output.object_score_logit_N1[:, 0] > 0
    token_NC = output.mask_tokens_N4C[rows_N, 1 + best_N]
    return Rival(
        output.mask_logits_N4hw[rows_N, 1 + best_N].unsqueeze(1).float(),
        iou_N3[rows_N, best_N],
        overlap_N.float(),
        model.object_pointer(token_NC, seen_N).float(),
    )


def no_rival(logits_N1hw: Tensor, pointer_NC: Tensor) -> Rival:
    """Of N objects that somebody pointed at: nobody disagrees."""
    one_N = logits_N1hw.new_ones(len(logits_N1hw), dtype=torch.float32)
    return Rival(logits_N1hw, one_N, one_N, pointer_NC)
