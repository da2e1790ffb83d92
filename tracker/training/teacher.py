"""Distillation: a larger network tracks the same clips, and the student learns its answers.

The teacher gets the true mask of the first frame and tracks with its own memory. The student learns
its soft masks and object scores on the tracked frames, and the cosine similarities of its features
between positions of a picture, which need no common width (Tung and Mori, arXiv 1907.09682, by
position instead of by picture).

Dimensions: B clips, T frames, b = B * T, N objects, C channels, G side of the compared grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.model.sam2 import Sam2
from tracker.training.clip import ClipBatch
from tracker.training.recipe import LossWeights
from tracker.training.unroll import ClipResult, Sampling, Unroll, choose

_GRID = 16
_GIVEN_MASKS = Sampling(
    box_share=0.0, point_share=0.0, teacher_forcing=0.0, correction=False, memory_drop=0.0
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """A teacher's answers on every tracked frame, and its picture features.

    ``mask_TN1hw``: probabilities. ``score_TN``: probabilities that the object is visible.
    ``alike_bGG``: cosine similarities between the positions of each picture.
    """

    mask_TN1hw: tuple[Tensor, ...]
    score_TN: tuple[Tensor, ...]
    alike_bGG: Tensor


class Teacher:
    """A frozen network whose answers are learned; ``model`` stays on its device."""

    def __init__(self, model: Sam2, weights: LossWeights) -> None:
        self.model = model.eval().requires_grad_(False)
        self.weights = weights
        self._unroll = Unroll(self.model, weights)

    @torch.no_grad()
    def lesson(self, batch: ClipBatch, generator: torch.Generator) -> Lesson:
        """Track the batch's counted objects at the teacher's image size."""
        side = self.model.config.image_size
        images = F.interpolate(
            batch.images_BT3SS.flatten(0, 1), (side, side), mode="bilinear", antialias=True
        )
        masks = F.interpolate(batch.masks_BTKSS.flatten(0, 1).float(), (side, side)) > 0.5
        shape = (batch.clips, batch.frames)
        enlarged = ClipBatch(images.unflatten(0, shape), masks.unflatten(0, shape))
        result = self._unroll.run(enlarged, _GIVEN_MASKS, generator, batch.counted_rows())
        answers = [choose(each, _ambiguous(each.object_score_logit_N1)) for each in result.answers]
        return Lesson(
            tuple(logits.float().sigmoid() for logits, _ in answers),
            tuple(each.object_score_logit_N1[:, 0].float().sigmoid() for each in result.answers),
            alike(result.features_bCHW),
        )

    def loss(self, result: ClipResult, lesson: Lesson) -> Tensor:
        """The loss of a student's run over the same batch against a lesson, a scalar."""
        alike_loss = (alike(result.features_bCHW) - lesson.alike_bGG).square().mean()
        total = self.weights.taught_features * alike_loss
        if not result.answers:
            return total
        frames = [
            _mask_loss(choose(answer, _ambiguous(answer.object_score_logit_N1))[0], mask, score)
            + F.binary_cross_entropy_with_logits(answer.object_score_logit_N1[:, 0].float(), score)
            for answer, mask, score in zip(
                result.answers, lesson.mask_TN1hw, lesson.score_TN, strict=True
            )
        ]
        return total + self.weights.taught_masks * torch.stack(frames).mean()


def alike(features_bCHW: Tensor) -> Tensor:
    """Cosine similarities (b, G*G, G*G) between the positions of each picture's features."""
    features = features_bCHW.float()
    if features.shape[-1] > _GRID:
        features = F.adaptive_avg_pool2d(features, _GRID)
    elif features.shape[-1] < _GRID:
        features = F.interpolate(features, (_GRID, _GRID), mode="bilinear", align_corners=False)
    places = F.normalize(features.flatten(2), dim=1)
    return places.transpose(1, 2) @ places


def _mask_loss(logits_N1hw: Tensor, mask_N1hw: Tensor, score_N: Tensor) -> Tensor:
    """Cross-entropy with the teacher's masks, for objects it considers visible."""
    side = max(logits_N1hw.shape[-1], mask_N1hw.shape[-1])
    logits, mask = (
        F.interpolate(each.float(), (side, side), mode="bilinear", align_corners=False)
        for each in (logits_N1hw, mask_N1hw)
    )
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    seen = (score_N > 0.5).float()
    return (entropy.mean(dim=(1, 2, 3)) * seen).sum() / seen.sum().clamp(min=1)


def _ambiguous(score_N1: Tensor) -> Tensor:
    """Select the best of the three masks, as on frames without an unambiguous prompt."""
    return torch.zeros(len(score_N1), dtype=torch.bool, device=score_N1.device)
