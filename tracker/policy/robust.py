"""The robust memory policy: memories that survive occlusion, look-alikes, cuts and gaps.

It acts at four points of a step: before the masks are decoded (predict), between masks (choose),
after the decision (observe), and when memories are written (remember). Choosing and observing are
batched on the device; the others use facts of the host, and numbers that reach it with the tracks
anyway.

Dimensions: N objects of a batch, B frames of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.engine.calls import rows_of
from tracker.images.scene_change import compare, thumbnails
from tracker.memory.frame_columns import BoolArray
from tracker.memory.places import IntArray, along_rows
from tracker.memory.records import Before, Facts, Selection
from tracker.model import DecoderOutput
from tracker.options import RobustOptions
from tracker.policy.choice import choose
from tracker.policy.decision import Choice
from tracker.policy.distractors import alone_iou
from tracker.policy.prediction import Evidence, Prediction
from tracker.policy.robust_bank import AREAS_KEPT, RobustBank
from tracker.sessions.row import Row, places_of
from tracker.types import StepFacts

# A prediction is not used across a gap of more frames than this.
LONGEST_GAP_FRAMES = 5
# An object that was hidden for longer starts a new motion when it is visible again.
HIDDEN_FRAMES = 10
# DAM4SAM's rule for anchors (arXiv 2411.17576), with its published thresholds.
ANCHOR_IOU, ANCHOR_AREA, ANCHOR_GAP_FRAMES, ANCHOR_ALONE_IOU = 0.8, 0.2, 5, 0.7
# A frame after a cut is remembered where the network is as sure as for an anchor.
CUT_IOU = ANCHOR_IOU


class RobustPolicy:
    """Rules over a ``RobustBank``, which holds all state."""

    def __init__(self, options: RobustOptions, bank: RobustBank) -> None:
        self.options = options
        self._bank = bank

    @property
    def compares_frames(self) -> bool:
        """Whether any rule asks what changed since the frame before."""
        return self.options.camera_motion or self.options.scene_cuts

    def compare_frames(
        self, row_B: Tensor | None, known_B: Tensor, pixels_B3SS: Tensor, before_B3TT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Thumbnails (B, 3, T, T) of new frames, and cuts and camera motion since those before.

        The latter as shift x, shift y and cut (B, 3), all 0 where ``known_B`` is not set.
        """
        small_B3TT = thumbnails(rows_of(pixels_B3SS, row_B))
        found = compare(rows_of(before_B3TT, row_B), small_B3TT)
        shift_B2 = found.shift_B2 * self.options.camera_motion
        cut_B = found.cut_B & self.options.scene_cuts
        scene_B3 = torch.cat((shift_B2, cut_B[:, None].to(shift_B2)), dim=1)
        return small_B3TT, torch.where(known_B[:, None], scene_B3, 0.0)

    def predict(self, slot_N: IntArray, time_N: IntArray) -> Prediction:
        """What is known of these objects before a frame of this time."""
        facts_N = self._bank.facts_K[slot_N]
        gap_N = np.clip(time_N - facts_N["time"], 1, 1000)
        known_N, hidden_N = facts_N["known"], facts_N["hidden"]
        return Prediction(
            facts_N,
            gap_N.astype(np.float32),
            known_N,
            hidden_N > 0,
            ~known_N | (hidden_N > HIDDEN_FRAMES) | (gap_N > LONGEST_GAP_FRAMES),
            _usual_areas(facts_N),
        )

    def choose(self, output: DecoderOutput, usual_area_N: Tensor) -> Choice:
        """Choose a mask for each tracked object, or none."""
        return choose(output, usual_area_N, reject_floods=self.options.reject_floods)

    def alone(self, output: DecoderOutput, choice: Choice) -> Tensor | None:
        """``alone_iou`` of the masks, for the test of anchors; None without anchors."""
        if not self.options.anchors:
            return None
        return alone_iou(output.mask_logits_N4hw, choice.mask_N)

    def remember(
        self,
        rows: Sequence[Row],
        conditioning_N: BoolArray,
        prediction: Prediction,
        evidence_NE: npt.NDArray[np.float64],
        before_45: Sequence[Tensor],
        memories: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """Write the memories that pass the rules, and the objects' state for their next frame.

        ``evidence_NE`` is the observation's evidence, on the host. ``before_45``: each object's
        motion before the frame. ``memories``: spatial memories (N, L, c), pointers (N, C) and
        motions (N, 4, 5).
        """
        slot_N, time_N = places_of(rows)
        evidence = Evidence(*evidence_NE.T)
        prompted_N = np.array([row.prompt is not None for row in rows])
        selection = self.select(prediction, evidence, time_N, prompted_N, conditioning_N)
        facts_N = facts_after(prediction.facts_N, evidence, time_N, selection)
        spatial_NLc, pointer_NC, motion_N45 = memories
        self._bank.remember(slot_N, time_N, selection, spatial_NLc, pointer_NC, motion_N45, facts_N)
        for row, facts, motion_45 in zip(rows, prediction.facts_N, before_45, strict=True):
            row.frame.before[row.object_id] = Before(facts.copy(), motion_45)
        for place in {row.image: place for place, row in enumerate(rows)}.values():
            cut = bool(evidence.cut[place])
            shift = None if cut or rows[place].frame.scene_13 is None else _shift(evidence, place)
            rows[place].frame.facts = StepFacts(cut, shift)

    def select(
        self,
        prediction: Prediction,
        evidence: Evidence,
        time_N: IntArray,
        prompted_N: BoolArray,
        conditioning_N: BoolArray,
    ) -> Selection:
        """Choose where each object's frame is stored. A prompted frame is always kept."""
        options, facts_N = self.options, prediction.facts_N
        visible_N = evidence.visible > 0
        least_N = np.where(facts_N["returning"], options.return_iou, options.write_iou)
        sure_N = ~visible_N | (evidence.predicted_iou >= least_N)
        sure_N &= (evidence.cut == 0) | (evidence.predicted_iou > CUT_IOU)
        seen_N = visible_N | (not options.skip_absent)
        recent_N = prompted_N | (seen_N & sure_N)
        anchor_N = visible_N & ~conditioning_N & _anchors(prediction, evidence, time_N)
        if not options.anchors:
            anchor_N[:] = False
        return Selection(conditioning_N, recent_N, seen_N | prompted_N, anchor_N)


def _shift(evidence: Evidence, place: int) -> tuple[float, float]:
    return float(evidence.shift_x[place]), float(evidence.shift_y[place])


def facts_after(
    facts_N: Facts, evidence: Evidence, time_N: IntArray, selection: Selection
) -> Facts:
    """The facts of N objects after a frame."""
    after = facts_N.copy()
    visible, cut = evidence.visible > 0, evidence.cut > 0
    after["known"] = visible | (facts_N["known"] & ~cut)
    after["hidden"] = np.where(visible, 0, facts_N["hidden"] + 1)
    after["time"] = time_N
    after["anchored"] = np.where(selection.anchor_N, time_N, facts_N["anchored"])
    after["returning"] = ~visible | (facts_N["returning"] & ~selection.recent_N)
    shifted = np.concatenate((evidence.area[:, None], facts_N["areas"][:, : AREAS_KEPT - 1]), 1)
    after["areas"] = np.where(visible[:, None], shifted, facts_N["areas"])
    return after


def _anchors(prediction: Prediction, evidence: Evidence, time_N: IntArray) -> BoolArray:
    """DAM4SAM: sure, of the usual size, not soon after another, and distinguished."""
    usual_N = prediction.usual_area_N
    of_usual_size_N = np.abs(evidence.area - usual_N) <= ANCHOR_AREA * usual_N
    distinguished: BoolArray = (
        (evidence.predicted_iou > ANCHOR_IOU)
        & of_usual_size_N
        & (usual_N > 0)
        & (time_N - prediction.facts_N["anchored"] > ANCHOR_GAP_FRAMES)
        & (evidence.alone_iou <= ANCHOR_ALONE_IOU)
    )
    return distinguished


def _usual_areas(facts_N: Facts) -> npt.NDArray[np.float64]:
    """Median area over the last frames on which each object was visible; 0 where there is none.

    While fewer than ``AREAS_KEPT`` are known, the first of them stands in for the missing ones.
    """
    areas = facts_N["areas"]
    count = np.count_nonzero(areas, axis=1)
    first = along_rows(areas, np.maximum(count - 1, 0)[:, None])
    ordered = np.sort(np.where(areas > 0, areas, first), axis=1)
    # As ``np.median``, whose checks cost more than this.
    median: npt.NDArray[np.float64] = ordered[:, [(AREAS_KEPT - 1) // 2, AREAS_KEPT // 2]].mean(1)
    return median
