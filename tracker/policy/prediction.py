"""Predictions of objects before a frame is decided, and observations after.

Dimensions: N objects of a batch, E numbers of evidence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.host_arrays import on_device
from tracker.images.scene_change import SceneChange
from tracker.masks.masks import boxes_of
from tracker.memory.records import Facts
from tracker.policy import motion
from tracker.policy.choice import Expectation, shares_of
from tracker.policy.decision import MaskDecision

# A hidden object's box is reported while the standard deviation of its centre, in shares of the
# picture, is below this; beyond, it may be anywhere.
LARGEST_SPREAD = 0.25


class Prediction(NamedTuple):
    """The state of N objects before a frame is decided.

    ``facts_N``, ``state_N45``: as the last frame left them. ``predicted_N45``: advanced to this
    frame. ``fresh_N``: the motion starts anew with the next observation. ``scene_N``: cut
    and camera motion of each object's picture.
    """

    facts_N: Facts
    state_N45: Tensor
    predicted_N45: Tensor
    expected: Expectation
    fresh_N: Tensor
    scene_N: SceneChange

    def of(self, places: list[int]) -> Prediction:
        """The same for some of the objects."""
        if len(places) == len(self.facts_N):
            return self
        index = np.array(places)
        rows = on_device(index, self.state_N45.device)
        return Prediction(
            self.facts_N[index],
            self.state_N45[rows],
            self.predicted_N45[rows],
            Expectation(*(column[rows] for column in self.expected)),
            self.fresh_N[rows],
            SceneChange(*(column[rows] for column in self.scene_N)),
        )


class Observation(NamedTuple):
    """An observation of N objects.

    ``state_N45``: their motion now. ``predicted_box_N4``: the expected box of a hidden object, in
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


def observe(prediction: Prediction, decision: MaskDecision) -> Observation:
    """Update the motion with the decided masks."""
    mask_Nhw = decision.logits_N1hw[:, 0] > 0
    box_N4 = shares_of(boxes_of(mask_Nhw), mask_Nhw)
    area_N = mask_Nhw.flatten(1).float().mean(dim=1)
    visible_N = decision.visible_N & (area_N > 0)
    fresh_N = prediction.fresh_N | decision.prompted_N
    seen_N45 = torch.where(
        fresh_N[:, None, None],
        motion.begun(box_N4),
        motion.corrected(prediction.predicted_N45, box_N4),
    )
    state_N45 = torch.where(visible_N[:, None, None], seen_N45, prediction.predicted_N45)
    expected = prediction.expected
    reported_N = ~visible_N & expected.known_N & (motion.spread(state_N45) < LARGEST_SPREAD)
    evidence = (
        visible_N,
        decision.predicted_iou_N,
        area_N,
        decision.alone_iou_N,
        prediction.scene_N.cut_B,
        prediction.scene_N.shift_B2[:, 0],
        prediction.scene_N.shift_B2[:, 1],
    )
    return Observation(
        state_N45,
        expected.box_N4.masked_fill(~reported_N[:, None], torch.nan),
        torch.stack([each.double() for each in evidence], dim=1),
    )
