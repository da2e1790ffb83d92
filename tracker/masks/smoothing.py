"""Mask smoothing over time: blend the displayed logits with those of the previous frame.

The previous logits are first moved by the shift of the mask's centre, so that motion is not
delayed. A confident pixel changes at once: with a share s of the past, a new logit wins if it is
more than s / (1 - s) times as strong as the previous one (0.43 times for s = 0.3). Uncertain
pixels, where a mask's edge flickers, change later. Memories and corrections use the unsmoothed
logits.

Dimensions: n objects of one frame, h w mask grid.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from tracker.host_arrays import on_device

# Logits are clamped to this, so that confidence is comparable between objects.
STRONGEST_LOGIT = 10.0
ABSENT_BELOW = -1000.0


class MaskSmoother:
    """The logits displayed on the previous frame of one stream.

    Bound: one low-resolution mask per object of that frame; the owner removes deleted objects.
    """

    def __init__(self, past_share: float) -> None:
        """Raises ValueError for a share outside 0..0.45: the current frame must dominate."""
        if not 0 <= past_share <= 0.45:
            raise ValueError(f"mask smoothing must be 0..0.45, got {past_share}")
        self.past_share = past_share
        self._shown: dict[int, Tensor] = {}

    def blend(
        self, object_ids: Sequence[int], logits_n1hw: Tensor, anew: Collection[int]
    ) -> Tensor:
        """The logits to display; unchanged for ``anew``, for new and for absent objects."""
        past = [None if each in anew else self._shown.get(each) for each in object_ids]
        if all(each is None for each in past):
            return logits_n1hw
        now = logits_n1hw.clamp(-STRONGEST_LOGIT, STRONGEST_LOGIT)
        before = torch.stack(
            [own if each is None else each for own, each in zip(now, past, strict=True)]
        )
        blended = now + self.past_share * (_moved(before, now) - now)
        new_n = on_device(np.array([each is None for each in past]), logits_n1hw.device)
        unblended = _absent(logits_n1hw) | _absent(before) | new_n.view(-1, 1, 1, 1)
        return torch.where(unblended, logits_n1hw, blended)

    def keep(self, object_ids: Sequence[int], shown_n1hw: Tensor) -> None:
        """Record the logits displayed on a new frame, replacing those of the previous one."""
        self._shown = {}
        self.replace(object_ids, shown_n1hw)

    def replace(self, object_ids: Sequence[int], shown_n1hw: Tensor) -> None:
        """Record other logits for some objects of the same frame."""
        if self.past_share == 0:
            return  # never used
        strong = shown_n1hw.clamp(-STRONGEST_LOGIT, STRONGEST_LOGIT)
        kept = torch.where(_absent(shown_n1hw), shown_n1hw, strong)
        self._shown |= zip(object_ids, kept.unbind(), strict=True)

    def begin_anew(self, object_ids: Collection[int]) -> None:
        """Forget the logits of these objects."""
        for object_id in object_ids:
            self._shown.pop(object_id, None)


def _absent(logits_n1hw: Tensor) -> Tensor:
    """Whether the object is absent, (n, 1, 1, 1) bool."""
    return logits_n1hw.amax(dim=(1, 2, 3), keepdim=True) <= ABSENT_BELOW


def _moved(before_n1hw: Tensor, now_n1hw: Tensor) -> Tensor:
    """The previous logits moved to the mask's current centre; the border is repeated."""
    step_n2 = _centre(now_n1hw) - _centre(before_n1hw)
    affine_n23 = torch.zeros(len(step_n2), 2, 3, device=step_n2.device)
    affine_n23[:, 0, 0] = affine_n23[:, 1, 1] = 1.0
    affine_n23[:, :, 2] = -step_n2
    grid_nhw2 = affine_grid(affine_n23, list(before_n1hw.shape), align_corners=False)
    return grid_sample(before_n1hw, grid_nhw2, padding_mode="border", align_corners=False)


def _centre(logits_n1hw: Tensor) -> Tensor:
    """The mask's centre, x and y in -1..1 over the grid, (n, 2); the middle for an empty mask."""
    mask_nhw = (logits_n1hw[:, 0] > 0).float()
    height, width = mask_nhw.shape[1:]
    x_w = torch.linspace(1 / width - 1, 1 - 1 / width, width, device=mask_nhw.device)
    y_h = torch.linspace(1 / height - 1, 1 - 1 / height, height, device=mask_nhw.device)
    moments_n2 = torch.stack((mask_nhw.sum(dim=1) @ x_w, mask_nhw.sum(dim=2) @ y_h), dim=1)
    return moments_n2 / mask_nhw.sum(dim=(1, 2)).clamp(min=1.0)[:, None]
