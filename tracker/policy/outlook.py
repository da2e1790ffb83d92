"""What is expected of objects before a frame is decided, and what was seen of them after.

Dimensions: N objects of a batch.
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
from tracker.policy.decision import Decision


class Outlook(NamedTuple):
    """What is known of N objects before a frame is decided.

    ``facts_N``, ``state_N45``: as they were left by the last frame. ``predicted_N45``: moved on
    to this one. ``fresh_N``: the motion begins anew with the next sighting. ``scene_N``: what
    happened to each object's picture.
    """

    facts_N: Facts
    state_N45: Tensor
    predicted_N45: Tensor
    expected: Expectation
    fresh_N: Tensor
    scene_N: SceneChange

    def of(self, places: list[int]) -> Outlook:
        """The same for some of the objects."""
        if len(places) == len(self.facts_N):
            return self
        index = np.array(places)
        rows = on_device(index, self.state_N45.device)
        return Outlook(
            self.facts_N[index],
            self.state_N45[rows],
            self.predicted_N45[rows],
            Expectation(*(column[rows] for column in self.expected)),
            self.fresh_N[rows],
            SceneChange(*(column[rows] for column in self.scene_N)),
        )


class Sighting(NamedTuple):
    """What was seen of N objects.

    ``state_N45``: their motion now. ``predicted_box_N4``: where a hidden one may be, in shares of
    the picture; NaN where that is not known, or the object is seen. ``evidence_NE``: numbers the
    host needs, see ``Evidence``. Where some object is followed along several paths, ``best_O``
    are the rows to show; box and evidence are by object then, all its paths side by side.
    """

    state_N45: Tensor
    predicted_box_N4: Tensor
    evidence_NE: Tensor
    best_O: Tensor | None = None


class Moved(NamedTuple):
    """Where N objects were seen: boxes in shares of the picture, areas likewise, motions now."""

    box_N4: Tensor
    area_N: Tensor
    visible_N: Tensor
    state_N45: Tensor


class Evidence(NamedTuple):
    """The columns of ``Sighting.evidence_NE``, on the host."""

    visible: npt.NDArray[np.float64]
    predicted_iou: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    near: npt.NDArray[np.float64]
    alone_iou: npt.NDArray[np.float64]
    cut: npt.NDArray[np.float64]
    shift_x: npt.NDArray[np.float64]
    shift_y: npt.NDArray[np.float64]


def moved(outlook: Outlook, decision: Decision) -> Moved:
    """Let the motion follow what was decided."""
    mask_Nhw = decision.logits_N1hw[:, 0] > 0
    box_N4 = shares_of(boxes_of(mask_Nhw), mask_Nhw)
    area_N = mask_Nhw.flatten(1).float().mean(dim=1)
    visible_N = decision.visible_N & (area_N > 0)
    fresh_N = outlook.fresh_N | decision.prompted_N
    seen_N45 = torch.where(
        fresh_N[:, None, None],
        motion.begun(box_N4),
        motion.corrected(outlook.predicted_N45, box_N4),
    )
    state_N45 = torch.where(visible_N[:, None, None], seen_N45, outlook.predicted_N45)
    return Moved(box_N4, area_N, visible_N, state_N45)
