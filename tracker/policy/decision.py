"""Chooses one of the decoder's masks, and from it object pointer and visibility.

These are SAM 2's rules with the settings of the released models.

Dimensions: N objects, h w mask grid, C width, S image size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tracker.model import DecoderOutput, Sam2

ABSENT_LOGIT = -1024.0
STABILITY_DELTA = 0.05
STABILITY_THRESHOLD = 0.98
MASK_PROMPT_SCALE, MASK_PROMPT_BIAS = 20.0, -10.0


class Choice(NamedTuple):
    """``mask_N``: index 1..3 of the decoder's four masks. ``shown_N``: whether it is accepted."""

    mask_N: Tensor
    shown_N: Tensor


class MaskDecision(NamedTuple):
    """The decisions about N objects on one frame.

    ``logits_N1hw`` are -1024 where the object is not visible. ``object_score_logit_N``.
    ``prompted_N``: the memory is computed from the binary mask, as for every frame with a prompt.
    ``alone_iou_N``: see ``policy.distractors``; 1 where it was not computed.
    """

    logits_N1hw: Tensor
    predicted_iou_N: Tensor
    object_score_logit_N: Tensor
    visible_N: Tensor
    pointer_NC: Tensor
    prompted_N: Tensor
    alone_iou_N: Tensor

    def rows(self) -> list[MaskDecision]:
        """The decisions of each object alone."""
        return [MaskDecision(*row) for row in zip(*(c.split(1) for c in self), strict=True)]


def decide(
    model: Sam2,
    output: DecoderOutput,
    ambiguous: bool,
    prompted: bool,
    choice: Choice | None = None,
    alone_iou_N: Tensor | None = None,
) -> MaskDecision:
    """Choose one mask per object, unless a memory policy already did (``choice``).

    ``ambiguous`` (no prompt, or a single point): the mask 1..3 of the highest predicted IoU, with
    its own token as the pointer. Otherwise mask 0, or the best of the others if it is unstable;
    its token is the pointer in both cases.
    """
    rows = torch.arange(output.predicted_iou_N4.shape[0], device=output.predicted_iou_N4.device)
    best = 1 + output.predicted_iou_N4[:, 1:].argmax(dim=1) if choice is None else choice.mask_N
    if ambiguous:
        chosen = best
        token = output.mask_tokens_N4C[rows, best]
    else:
        chosen = unambiguous(output, best)
        token = output.mask_tokens_N4C[:, 0]
    score_logit = output.object_score_logit_N1[:, 0]
    visible = score_logit > 0
    if choice is not None:
        visible = visible & choice.shown_N
    logits = output.mask_logits_N4hw[rows, chosen].unsqueeze(1).float()
    return MaskDecision(
        torch.where(visible.view(-1, 1, 1, 1), logits, ABSENT_LOGIT),
        output.predicted_iou_N4[rows, chosen].float(),
        score_logit.float(),
        visible,
        model.object_pointer(token, visible).float(),
        torch.full_like(visible, prompted),
        torch.ones_like(score_logit, dtype=torch.float32) if alone_iou_N is None else alone_iou_N,
    )


def unambiguous(output: DecoderOutput, best_N: Tensor) -> Tensor:
    """Index 0..3 of each object's mask for an unambiguous prompt: ``best_N`` if 0 is unstable."""
    return torch.where(_is_stable(output.mask_logits_N4hw[:, 0]), 0, best_N)


def in_order(parts: Sequence[MaskDecision], order_N: Tensor) -> MaskDecision:
    """Decisions about parts of N objects as one; ``order_N``: index of each object in the parts."""
    return MaskDecision(*(torch.cat(column)[order_N] for column in zip(*parts, strict=True)))


def decide_mask_prompt(
    model: Sam2, output: DecoderOutput, mask_N1SS: Tensor, iou_N: Tensor
) -> MaskDecision:
    """The given mask is the result; the decoder only computes the pointer from it."""
    score_logit = output.object_score_logit_N1[:, 0]
    visible = mask_N1SS.flatten(1).any(dim=1)
    pointer = model.object_pointer(output.mask_tokens_N4C[:, 0], score_logit > 0)
    pointer = torch.where(visible[:, None], pointer, model.no_obj_ptr)
    logits = torch.nn.functional.interpolate(
        mask_N1SS * MASK_PROMPT_SCALE + MASK_PROMPT_BIAS,
        scale_factor=0.25,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    return MaskDecision(
        logits.float(),
        iou_N,
        MASK_PROMPT_SCALE * visible.float() + MASK_PROMPT_BIAS,
        visible,
        pointer.float(),
        torch.ones_like(visible),
        torch.ones_like(score_logit, dtype=torch.float32),
    )


def _is_stable(logits_Nhw: Tensor) -> Tensor:
    inner = (logits_Nhw > STABILITY_DELTA).flatten(1).sum(dim=1)
    outer = (logits_Nhw > -STABILITY_DELTA).flatten(1).sum(dim=1)
    return torch.where(outer > 0, inner / outer, 1.0) >= STABILITY_THRESHOLD
