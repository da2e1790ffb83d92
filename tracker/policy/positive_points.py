"""Keeps the user's positive points inside the mask, whatever the negative ones do to it.

Negative points beside an object can make a small network return a mask without the positive point.
Then the mask of the positive points alone is used, without the part that is nearer to a negative
point inside it.

Dimensions: K points, h w mask grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from tracker.policy.decision import MaskDecision

# Around a positive point, in cells: the mask there is not cut.
_UNCUT_CELLS = 1.5
_CUT_LOGIT = -1.0
# A point's pixel reaches up to half a cell to each side of it.
_REACH_CELLS = ((0.0, 0.0), (0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5))


def with_positive_points(
    decision: MaskDecision, positive_only: MaskDecision, points_K2: Tensor, labels_K: Tensor
) -> MaskDecision:
    """One object's decision from all of its points, or from its positive ones if it lost one.

    ``points_K2``: shares of the picture, x and y. Never makes the host wait for the device.
    """
    on_K, beside_K = labels_K == 1, labels_K == 0
    known_K = _logits_at(positive_only.logits_N1hw, points_K2)[0] > 0
    least_K = _logits_at(decision.logits_N1hw, points_K2).amin(dim=0)
    lost = (on_K & known_K & (least_K <= 0)).any()
    on_hw = _distance(points_K2, on_K, positive_only.logits_N1hw)
    beside_hw = _distance(points_K2, beside_K & known_K, positive_only.logits_N1hw)
    cut_hw = (beside_hw < on_hw) & (on_hw > _UNCUT_CELLS)
    logits = positive_only.logits_N1hw
    kept = positive_only._replace(
        logits_N1hw=torch.where(cut_hw, logits.clamp(max=_CUT_LOGIT), logits)
    )
    return MaskDecision(
        *(torch.where(lost, one, other) for one, other in zip(kept, decision, strict=True))
    )


def _logits_at(logits_11hw: Tensor, points_K2: Tensor) -> Tensor:
    """Logits at the points and half a cell beside them, (5, K)."""
    height, width = logits_11hw.shape[2:]
    x_K, y_K = points_K2.unbind(1)
    x_5K = torch.stack([x_K + x / width for x, _ in _REACH_CELLS])
    y_5K = torch.stack([y_K + y / height for _, y in _REACH_CELLS])
    grid_15K2 = 2 * torch.stack((x_5K, y_5K), dim=2)[None] - 1
    return grid_sample(logits_11hw, grid_15K2, padding_mode="border", align_corners=False)[0, 0]


def _distance(points_K2: Tensor, of_K: Tensor, logits_11hw: Tensor) -> Tensor:
    """From each cell to the nearest of some points, in cells, (h, w); infinite without any."""
    height, width = logits_11hw.shape[2:]
    x_w = torch.arange(width, device=points_K2.device) + 0.5
    y_h = torch.arange(height, device=points_K2.device) + 0.5
    away_Kw = x_w - points_K2[:, :1] * width
    away_Kh = y_h - points_K2[:, 1:] * height
    distance_Khw = torch.hypot(away_Kw[:, None], away_Kh[:, :, None])
    return distance_Khw.masked_fill(~of_K[:, None, None], torch.inf).amin(dim=0)
