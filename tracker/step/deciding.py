"""Decides rows of tables: what the network and the policy compute, as functions of tensors only.

The engine calls them, on a device while it captures a graph: they never make the host wait.

Dimensions: N objects, R rows decided by one call, K points, S image size, H W token grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracker.engine.calls import rows_of
from tracker.engine.engine import Engine
from tracker.model import ImageFeatures
from tracker.policy.decision import MaskDecision, decide, decide_mask_prompt
from tracker.policy.positive_points import with_positive_points
from tracker.policy.robust import RobustPolicy
from tracker.step.row_kinds import TRACKED_FIRST, Kind

# Previous logits fed back with a correction are clamped to this, as in training.
PREVIOUS_LOGIT_LIMIT = 32.0


class Deciding:
    """Each method takes numbers of rows, the rows' own numbers, and then the tables."""

    def __init__(self, engine: Engine, policy: RobustPolicy | None) -> None:
        self._engine = engine
        self._policy = policy

    def tracked(
        self,
        memory_R: Tensor | None,
        image_R: Tensor,
        usual_area_R: Tensor,
        conditioned_N: Tensor,
        *features: Tensor,
    ) -> MaskDecision:
        """Rows without a prompt."""
        own = ImageFeatures(*features).select(image_R)
        return self._unprompted(rows_of(conditioned_N, memory_R), own, usual_area_R)

    def _unprompted(
        self, conditioned_RCHW: Tensor, own: ImageFeatures, usual_area_R: Tensor
    ) -> MaskDecision:
        output = self._engine.decode_unprompted(conditioned_RCHW, own)
        if self._policy is None:
            return decide(self._engine.model, output, True, False)
        choice = self._policy.choose(output, usual_area_R)
        alone_iou_R = self._policy.alone(output, choice)
        return decide(self._engine.model, output, True, False, choice, alone_iou_R)

    def prompted(
        self,
        kind: Kind,
        memory_R: Tensor | None,
        previous_R: Tensor | None,
        image_R: Tensor,
        usual_area_R: Tensor,
        points_RK2: Tensor,
        labels_RK: Tensor,
        positive_points_1K2: Tensor | None,
        positive_labels_1K: Tensor | None,
        conditioned_N: Tensor | None,
        previous_N: Tensor | None,
        *features: Tensor,
    ) -> MaskDecision:
        """With positive points: of one row, decided by those alone where it lost one of them."""
        model = self._engine.model
        own = ImageFeatures(*features).select(image_R)
        previous = None
        if kind.remembers:
            assert conditioned_N is not None
            conditioned = rows_of(conditioned_N, memory_R)
        else:
            conditioned = model.attend(own.stride16_BCHW, None)
        if kind == TRACKED_FIRST:
            previous = self._unprompted(conditioned, own, usual_area_R).logits_N1hw
        elif kind.previous:
            assert previous_N is not None
            previous = rows_of(previous_N, previous_R)
        if previous is not None:
            previous = previous.clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)

        def decided(points_RK2: Tensor, labels_RK: Tensor) -> MaskDecision:
            prompt = model.encode_prompts(points_RK2, labels_RK, previous)
            output = model.decode(conditioned, own, prompt)
            return decide(model, output, labels_RK.shape[1] <= 1, True)

        decision = decided(points_RK2, labels_RK)
        if positive_points_1K2 is None or positive_labels_1K is None:
            return decision
        return with_positive_points(
            decision,
            decided(positive_points_1K2, positive_labels_1K),
            points_RK2[0] / model.config.image_size,
            labels_RK[0],
        )

    def masked(
        self, image_R: Tensor, iou_R: Tensor, mask_R1SS: Tensor, *features: Tensor
    ) -> MaskDecision:
        """Rows with a mask for a prompt."""
        model = self._engine.model
        own = ImageFeatures(*features).select(image_R)
        nothing = torch.zeros(len(mask_R1SS), 1, 2, device=mask_R1SS.device)
        labels = torch.full((len(mask_R1SS), 1), -1, device=mask_R1SS.device)
        prompt = model.encode_prompts(nothing, labels, model.mask_downsample(mask_R1SS))
        # Raw features, without a memory and without ``no_mem_embed``.
        output = model.decode(own.stride16_BCHW, own, prompt)
        return decide_mask_prompt(model, output, mask_R1SS, iou_R)
