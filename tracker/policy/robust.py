"""The robust memory policy: memories that survive occlusion, look-alikes, cuts and gaps.

It acts at four points of a step: before the masks are decoded (predict), between masks (choose),
after the decision (observe), and when memories are written (remember). The first three are batched
tensors on the device; the last uses numbers that reach the host with the tracks anyway.

Dimensions: N objects of a batch, B frames of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.host_arrays import on_device
from tracker.images.scene_change import SceneChange, compare, thumbnails
from tracker.memory.frame_columns import BoolArray
from tracker.memory.places import IntArray
from tracker.memory.records import Before, Facts, Selection
from tracker.model import DecoderOutput
from tracker.options import RobustOptions
from tracker.policy import motion
from tracker.policy.choice import Expectation, choose
from tracker.policy.decision import Choice
from tracker.policy.distractors import alone_iou
from tracker.policy.prediction import Evidence, Observation, Prediction
from tracker.policy.robust_bank import AREAS_KEPT, RobustBank
from tracker.sessions.history import TrackedFrame
from tracker.sessions.row import Row, images_of, places_of
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

    def __init__(self, options: RobustOptions, bank: RobustBank, device: torch.device) -> None:
        self.options = options
        self._bank = bank
        self._device = device

    def compare_frames(
        self,
        pixels_B3SS: Tensor,
        frames: Sequence[TrackedFrame],
        before: Sequence[TrackedFrame | None],
    ) -> None:
        """Find cuts and camera motion of each stream since the frame before, where it is kept."""
        if not (self.options.camera_motion or self.options.scene_cuts):
            return
        known: list[tuple[TrackedFrame, Tensor, Tensor]] = []
        for frame, earlier, small_13TT in zip(
            frames, before, thumbnails(pixels_B3SS).split(1), strict=True
        ):
            frame.thumbnail_13TT = small_13TT.clone()
            if earlier is not None and earlier.thumbnail_13TT is not None:
                known.append((frame, earlier.thumbnail_13TT, small_13TT))
        if not known:
            return
        found = compare(*(torch.cat(column) for column in list(zip(*known, strict=True))[1:]))
        shift_B2 = found.shift_B2 * self.options.camera_motion
        cut_B = found.cut_B & self.options.scene_cuts
        for (frame, _, _), shift_12, cut_1 in zip(
            known, shift_B2.split(1), cut_B.split(1), strict=True
        ):
            frame.scene = SceneChange(shift_12.clone(), cut_1.clone())

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Predict the rows' objects on their frames."""
        slot_N, time_N = places_of(rows)
        image = self._tensor(images_of(rows))
        frames = {row.image: row.frame for row in rows}
        facts_N = self._bank.facts_K[slot_N]
        state_N45 = self._bank.motion_K45[self._tensor(slot_N)]
        scenes = [frames[each].scene or self._still for each in sorted(frames)]
        scene_N = SceneChange(*(torch.cat(column)[image] for column in zip(*scenes, strict=True)))
        gap_N = np.clip(time_N - facts_N["time"], 1, 1000)
        known_N = facts_N["known"]
        here_N = ~scene_N.cut_B
        predicted_N45 = motion.predicted(
            state_N45,
            self._tensor(gap_N.astype(np.float32)),
            self._tensor(facts_N["hidden"] > 0),
            scene_N.shift_B2,
        )
        expected = Expectation(
            motion.boxes(predicted_N45),
            self._tensor(known_N) & here_N,
            self._tensor(_usual_areas(facts_N).astype(np.float32)),
        )
        fresh = ~known_N | (facts_N["hidden"] > HIDDEN_FRAMES) | (gap_N > LONGEST_GAP_FRAMES)
        return Prediction(
            facts_N, state_N45, predicted_N45, expected, self._tensor(fresh) | ~here_N, scene_N
        )

    def choose(self, prediction: Prediction, output: DecoderOutput) -> Choice:
        """Choose a mask for each tracked object, or none."""
        return choose(output, prediction.expected, reject_floods=self.options.reject_floods)

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
        observation: Observation,
        evidence_NE: npt.NDArray[np.float64],
        spatial_NLc: Tensor,
        pointer_NC: Tensor,
    ) -> None:
        """Write the memories that pass the rules, and the objects' state for their next frame.

        ``evidence_NE`` is the observation's evidence, on the host.
        """
        slot_N, time_N = places_of(rows)
        evidence = Evidence(*evidence_NE.T)
        prompted_N = np.array([row.prompt is not None for row in rows])
        selection = self.select(prediction.facts_N, evidence, time_N, prompted_N, conditioning_N)
        facts_N = facts_after(prediction.facts_N, evidence, time_N, selection)
        self._bank.remember(
            slot_N, time_N, selection, spatial_NLc, pointer_NC, observation.state_N45, facts_N
        )
        for row, facts, motion_45 in zip(
            rows, prediction.facts_N, prediction.state_N45.clone().unbind(), strict=True
        ):
            row.frame.before[row.object_id] = Before(facts.copy(), motion_45)
        for place in {row.image: place for place, row in enumerate(rows)}.values():
            cut = bool(evidence.cut[place])
            shift = None if cut or rows[place].frame.scene is None else _shift(evidence, place)
            rows[place].frame.facts = StepFacts(cut, shift)

    def select(
        self,
        facts_N: Facts,
        evidence: Evidence,
        time_N: IntArray,
        prompted_N: BoolArray,
        conditioning_N: BoolArray,
    ) -> Selection:
        """Choose where each object's frame is stored. A prompted frame is always kept."""
        options = self.options
        visible_N = evidence.visible > 0
        least_N = np.where(facts_N["returning"], options.return_iou, options.write_iou)
        sure_N = ~visible_N | (evidence.predicted_iou >= least_N)
        sure_N &= (evidence.cut == 0) | (evidence.predicted_iou > CUT_IOU)
        seen_N = visible_N | (not options.skip_absent)
        recent_N = prompted_N | (seen_N & sure_N)
        anchor_N = visible_N & ~conditioning_N & _anchors(facts_N, evidence, time_N)
        if not options.anchors:
            anchor_N[:] = False
        return Selection(conditioning_N, recent_N, seen_N | prompted_N, anchor_N)

    @property
    def _still(self) -> SceneChange:
        zero = torch.zeros(1, 2, device=self._device)
        return SceneChange(zero, zero[:, 0] > 0)

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        return on_device(array, self._device)


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


def _anchors(facts_N: Facts, evidence: Evidence, time_N: IntArray) -> BoolArray:
    """DAM4SAM: sure, of the usual size, not soon after another, and distinguished."""
    usual_N = _usual_areas(facts_N)
    of_usual_size_N = np.abs(evidence.area - usual_N) <= ANCHOR_AREA * usual_N
    distinguished: BoolArray = (
        (evidence.predicted_iou > ANCHOR_IOU)
        & of_usual_size_N
        & (usual_N > 0)
        & (time_N - facts_N["anchored"] > ANCHOR_GAP_FRAMES)
        & (evidence.alone_iou <= ANCHOR_ALONE_IOU)
    )
    return distinguished


def _usual_areas(facts_N: Facts) -> npt.NDArray[np.float64]:
    """Median area over the last frames on which each object was visible; 0 where there is none.

    While fewer than ``AREAS_KEPT`` are known, the first of them stands in for the missing ones.
    """
    areas = facts_N["areas"]
    count = np.count_nonzero(areas, axis=1)
    first = np.take_along_axis(areas, np.maximum(count - 1, 0)[:, None], 1)
    median: npt.NDArray[np.float64] = np.median(np.where(areas > 0, areas, first), axis=1)
    return median
