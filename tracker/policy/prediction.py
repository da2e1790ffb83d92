"""Predictions of objects before a frame is decided, and observations after.

Dimensions: N objects of a batch, E numbers of evidence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.masks.masks import boxes_of
from tracker.memory.frame_columns import BoolArray
from tracker.memory.records import Facts
from tracker.policy import motion
from tracker.policy.choice import shares_of
from tracker.policy.decision import MaskDecision

# A hidden object's box is reported while the standard deviation of its centre, in shares of the
# picture, is below this; beyond, it may be anywhere.
LARGEST_SPREAD = 0.25


class Prediction(NamedTuple):
    """What is known of N objects before a frame is decided; on the host.

    ``facts_N``: as the last frame left them. ``gap_N``: frames since then. ``known_N``: whether the
    motion is known, ``hidden_N``: whether the object was hidden, ``fresh_N``: whether the motion
    starts anew with the next observation. ``usual_area_N``: share of the picture that the object
    covered recently, 0 where unknown.
    """

    facts_N: Facts
    gap_N: npt.NDArray[np.float32]
    known_N: BoolArray
    hidden_N: BoolArray
    fresh_N: BoolArray
    usual_area_N: npt.NDArray[np.float64]

    @property
    def of_motion(self) -> tuple[npt.NDArray[np.generic], ...]:
        """What ``observe`` needs besides the motion itself."""
        return self.gap_N, self.known_N, self.hidden_N, self.fresh_N


class Observation(NamedTuple):
    """An observation of N objects.

    ``state_N45``: their motion now; ``predicted_box_N4``: the expected box of a hidden object, in
    shares of the picture; NaN where it is unknown or the object is visible. ``evidence_NE``:
    numbers the host needs, the columns of ``Evidence``.
    """

    state_N45: Tensor
    predicted_box_N4: Tensor
    evidence_NE: Tensor


class Evidence(NamedTuple):
    """The columns of ``Observation.evidence_NE``, on the host."""

    visible: npt.NDArray[np.float64]
    predicted_iou: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    alone_iou: npt.NDArray[np.float64]
    cut: npt.NDArray[np.float64]
    shift_x: npt.NDArray[np.float64]
    shift_y: npt.NDArray[np.float64]


def observe(
    state_N45: Tensor,
    gap_N: Tensor,
    known_N: Tensor,
    hidden_N: Tensor,
    fresh_N: Tensor,
    scene_N3: Tensor,
    decision: MaskDecision,
) -> Observation:
    """Update the motion with the decided masks.

    ``state_N45``: as the last frame left it. ``scene_N3``: camera motion and cut of each object's
    picture, see ``RobustPolicy.compare_frames``. The others are those of ``Prediction``.
    """
    shift_N2, cut_N = scene_N3[:, :2], scene_N3[:, 2] > 0
    predicted_N45 = motion.predicted(state_N45, gap_N, hidden_N, shift_N2)
    mask_Nhw = decision.logits_N1hw[:, 0] > 0
    box_N4 = shares_of(boxes_of(mask_Nhw), mask_Nhw)
    area_N = mask_Nhw.flatten(1).float().mean(dim=1)
    visible_N = decision.visible_N & (area_N > 0)
    fresh_N = fresh_N | cut_N | decision.prompted_N
    seen_N45 = torch.where(
        fresh_N[:, None, None], motion.begun(box_N4), motion.corrected(predicted_N45, box_N4)
    )
    after_N45 = torch.where(visible_N[:, None, None], seen_N45, predicted_N45)
    reported_N = ~visible_N & known_N & ~cut_N & (motion.spread(after_N45) < LARGEST_SPREAD)
    evidence = (
        visible_N,
        decision.predicted_iou_N,
        area_N,
        decision.alone_iou_N,
        cut_N,
        shift_N2[:, 0],
        shift_N2[:, 1],
    )
    return Observation(
        after_N45,
        motion.boxes(predicted_N45).masked_fill(~reported_N[:, None], torch.nan),
        torch.stack([each.double() for each in evidence], dim=1),
    )
