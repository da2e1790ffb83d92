"""The robust memory policy: memories that survive occlusion, look-alikes, cuts and gaps.

It looks at a step in four places: before the masks are decoded (what is expected of each
object), between masks (which one is taken), after the decision (what was seen of the motion),
and when memories are put away (what is worth keeping). All but the last are batched tensors on
the device; the last uses numbers that the host gets with the tracks anyway.

Dimensions: N objects of a batch, B frames of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.host_arrays import on_device
from tracker.images.scene_change import (
    SceneChange,
    compare,
    thumbnails,
)
from tracker.memory.frame_columns import BoolArray
from tracker.memory.places import IntArray
from tracker.memory.records import (
    Before,
    Facts,
    Kept,
    Selection,
)
from tracker.model import DecoderOutput, Sam2
from tracker.policy import motion
from tracker.policy.branching import Branching, Encode, Seen, only_the_best
from tracker.policy.choice import Expectation, choose
from tracker.policy.decision import (
    Choice,
    Decision,
)
from tracker.policy.distractors import alone_iou
from tracker.policy.hypotheses import PathEvidence, stand
from tracker.policy.options import RobustOptions
from tracker.policy.outlook import Evidence, Outlook, Sighting, moved
from tracker.policy.paths import Paths, row_by_row, side_by_side
from tracker.policy.rivals import Rival, rival_of
from tracker.policy.robust_bank import AREAS_KEPT, RobustBank
from tracker.sessions.history import TrackedFrame
from tracker.types import StepFacts

if TYPE_CHECKING:
    from tracker.step.row_decider import Row

# A prediction is not used across a gap of more frames than this.
LONGEST_GAP_FRAMES = 5
# An object seen again after so many frames out of sight begins a new motion.
HIDDEN_FRAMES = 10
# A hidden object's box is told for as long as the standard deviation of its centre, in shares of
# the picture, is below this: beyond, it may be anywhere.
LARGEST_SPREAD = 0.25
# DAM4SAM's rule for anchors, with its published thresholds.
ANCHOR_IOU, ANCHOR_AREA, ANCHOR_GAP_FRAMES, ANCHOR_ALONE_IOU = 0.8, 0.2, 5, 0.7
# A frame after a cut is remembered where the network is as sure as for an anchor.
CUT_IOU = ANCHOR_IOU


class RobustPolicy:
    """Rules over a ``RobustBank``; all that lasts lies in the bank."""

    def __init__(self, options: RobustOptions, bank: RobustBank, device: torch.device) -> None:
        self.options = options
        self._bank = bank
        self._device = device
        self._branching = Branching(options.hypotheses, bank, self._after, device)

    def look(
        self,
        pixels_B3SS: Tensor,
        frames: Sequence[TrackedFrame],
        before: Sequence[TrackedFrame | None],
    ) -> None:
        """Find out what happened to each stream's picture since the frame before, if it is kept."""
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

    def outlook(self, paths: Paths) -> Outlook:
        """What is expected of the objects on each of their paths."""
        rows = paths.rows
        slot_N, time_N = _places(rows)
        image = self._tensor(np.array([row.image for row in rows], dtype=np.int64))
        frames = {row.image: row.frame for row in rows}
        facts_N = self._bank.facts_K[slot_N]
        state_N45 = self._bank.motion_K45[self._tensor(slot_N)]
        scenes = [frames[each].scene or self._still for each in sorted(frames)]
        scene_N = SceneChange(*(torch.cat(column)[image] for column in zip(*scenes, strict=True)))
        gap_N = np.clip(time_N - facts_N["time"], 1, 1000)
        known_N = facts_N["known"]
        steady_N = (facts_N["seen"] >= self.options.steady_frames) & (gap_N <= LONGEST_GAP_FRAMES)
        hidden_N = facts_N["hidden"] > 0
        here_N = ~scene_N.cut_B
        predicted_N45 = motion.predicted(
            state_N45,
            self._tensor(gap_N.astype(np.float32)),
            self._tensor(hidden_N),
            scene_N.shift_B2,
        )
        expected = Expectation(
            motion.boxes(predicted_N45),
            self._tensor(known_N) & here_N,
            self._tensor(known_N & steady_N) & here_N,
            self._tensor(_usual_areas(facts_N).astype(np.float32)),
            image,
            self._tensor(paths.owner_N),
        )
        fresh = ~known_N | (facts_N["hidden"] > HIDDEN_FRAMES) | (gap_N > LONGEST_GAP_FRAMES)
        return Outlook(
            facts_N, state_N45, predicted_N45, expected, self._tensor(fresh) | ~here_N, scene_N
        )

    def choose(self, outlook: Outlook, output: DecoderOutput, several: bool) -> Choice:
        """Which mask of each tracked object is taken, if any."""
        return choose(output, outlook.expected, self.options, several)

    def alone(self, output: DecoderOutput, choice: Choice) -> Tensor | None:
        """What the test for anchors needs of the decoder's masks."""
        if not self.options.anchors:
            return None
        return alone_iou(output.mask_logits_N4hw, choice.mask_N)

    def rival(self, model: Sam2, output: DecoderOutput, choice: Choice) -> Rival | None:
        """What the tracked objects may be besides what they are taken for."""
        return None if self.options.hypotheses == 1 else rival_of(model, output, choice)

    def see(self, paths: Paths, outlook: Outlook, decision: Decision) -> Sighting:
        """Let the motion follow what was decided, and find out which paths are shown."""
        seen = moved(outlook, decision)
        expected, hidden_N = outlook.expected, ~seen.visible_N
        told_N = hidden_N & expected.known_N & (motion.spread(seen.state_N45) < LARGEST_SPREAD)
        box = expected.box_N4.masked_fill(~told_N[:, None], torch.nan)
        # Who is not steady, or was just pointed at, has nothing to be compared with.
        near_N = torch.where(
            expected.steady_N & ~decision.prompted_N,
            motion.box_iou(expected.box_N4, seen.box_N4),
            1.0,
        )
        evidence = (
            seen.visible_N,
            decision.predicted_iou_N,
            seen.area_N,
            near_N,
            decision.alone_iou_N,
            outlook.scene_N.cut_B,
            outlook.scene_N.shift_B2[:, 0],
            outlook.scene_N.shift_B2[:, 1],
        )
        evidence_NE = torch.stack([each.double() for each in evidence], dim=1)
        if decision.rival is None:
            return Sighting(seen.state_N45, box, evidence_NE)
        past_N = np.where(paths.count_N > 1, outlook.facts_N["score"], 0.0)
        standing = stand(paths, decision, seen.visible_N, expected.stream_N, past_N)
        evidence_NE = torch.cat((evidence_NE, standing.columns_NE), dim=1)
        best_O = standing.best_O
        return Sighting(
            seen.state_N45,
            box if best_O is None else box[best_O],
            side_by_side(evidence_NE, paths),
            best_O,
        )

    def remember(
        self,
        paths: Paths,
        conditioning_N: BoolArray,
        outlook: Outlook,
        sighting: Sighting,
        beside_OE: npt.NDArray[np.float64],
        spatial_NLc: Tensor,
        decision: Decision,
        encode: Encode,
    ) -> None:
        """Keep of the rows' objects what is worth it, and what their next frame needs to know.

        ``beside_OE`` is the sighting's evidence, on the host.
        """
        rows = paths.rows
        slot_N, time_N = _places(rows)
        told_NE = row_by_row(beside_OE, paths)
        evidence = Evidence(*told_NE.T[: len(Evidence._fields)])
        prompted_N = np.array([row.prompt is not None for row in rows])
        selection, facts_N = self._after(
            outlook.facts_N, evidence, time_N, prompted_N, conditioning_N
        )
        pointer_NC, state_N45 = decision.pointer_NC, sighting.state_N45
        kept = Kept(slot_N, time_N, selection, spatial_NLc, pointer_NC, state_N45, facts_N)
        if decision.rival is None:
            self._bank.remember(*kept)
        else:
            standing = PathEvidence(*told_NE.T[len(Evidence._fields) :])
            self._branching.remember(
                Seen(paths, outlook, decision, evidence, standing), kept, encode
            )
        for place in np.flatnonzero(prompted_N).tolist():
            if rows[place].is_new:  # else the correction ends them, when all of it is done
                only_the_best(rows[place].session, rows[place].object_id, self._bank)
        before_N = outlook.state_N45.clone().unbind()
        for place in np.flatnonzero(paths.first_N).tolist():
            before = Before(outlook.facts_N[place].copy(), before_N[place])
            rows[place].frame.before[rows[place].object_id] = before
        for place in {row.image: place for place, row in enumerate(rows)}.values():
            cut = bool(evidence.cut[place])
            shift = None if cut or rows[place].frame.scene is None else _shift(evidence, place)
            rows[place].frame.facts = StepFacts(cut, shift)

    def _after(
        self,
        facts_N: Facts,
        evidence: Evidence,
        time_N: IntArray,
        prompted_N: BoolArray,
        conditioning_N: BoolArray,
    ) -> tuple[Selection, Facts]:
        selection = self.select(facts_N, evidence, time_N, prompted_N, conditioning_N)
        return selection, facts_after(facts_N, evidence, time_N, selection)

    def select(
        self,
        facts_N: Facts,
        evidence: Evidence,
        time_N: IntArray,
        prompted_N: BoolArray,
        conditioning_N: BoolArray,
    ) -> Selection:
        """Where this frame of each object goes. What somebody pointed at is always kept."""
        options = self.options
        visible_N = evidence.visible > 0
        least_N = np.where(facts_N["returning"], options.return_iou, options.write_iou)
        sure_N = ~visible_N | (evidence.predicted_iou >= least_N)
        sure_N &= (evidence.cut == 0) | (evidence.predicted_iou > CUT_IOU)
        if options.motion_gate:
            sure_N &= evidence.near > 0
        seen_N = visible_N | (not options.skip_absent)
        recent_N = prompted_N | (seen_N & sure_N)
        kept_N = facts_N["remembered"] % options.recent_stride == 0
        anchor_N = visible_N & ~conditioning_N & _anchors(facts_N, evidence, time_N)
        if not options.anchors:
            anchor_N[:] = False
        return Selection(conditioning_N, recent_N, kept_N, seen_N | prompted_N, anchor_N)

    @property
    def _still(self) -> SceneChange:
        zero = torch.zeros(1, 2, device=self._device)
        return SceneChange(zero, zero[:, 0] > 0)

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        return on_device(array, self._device)


def _places(rows: list[Row]) -> tuple[IntArray, IntArray]:
    slot_N, time_N = np.array([row.place for row in rows], dtype=np.int64).T.copy()
    return slot_N, time_N


def _shift(evidence: Evidence, place: int) -> tuple[float, float]:
    return float(evidence.shift_x[place]), float(evidence.shift_y[place])


def facts_after(
    facts_N: Facts, evidence: Evidence, time_N: IntArray, selection: Selection
) -> Facts:
    """What the host knows of N objects after a frame."""
    after = facts_N.copy()
    visible, cut = evidence.visible > 0, evidence.cut > 0
    after["known"] = visible | (facts_N["known"] & ~cut)
    # A gap or a cut breaks what was steady: it has to be seen anew for long enough.
    unbroken = ~cut & (time_N - facts_N["time"] <= LONGEST_GAP_FRAMES)
    after["seen"] = np.where(visible, np.where(unbroken, facts_N["seen"], 0) + 1, 0)
    after["hidden"] = np.where(visible, 0, facts_N["hidden"] + 1)
    after["time"] = time_N
    after["anchored"] = np.where(selection.anchor_N, time_N, facts_N["anchored"])
    after["remembered"] += selection.recent_N
    after["returning"] = ~visible | (facts_N["returning"] & ~selection.recent_N)
    shifted = np.concatenate((evidence.area[:, None], facts_N["areas"][:, : AREAS_KEPT - 1]), 1)
    after["areas"] = np.where(visible[:, None], shifted, facts_N["areas"])
    return after


def _anchors(facts_N: Facts, evidence: Evidence, time_N: IntArray) -> BoolArray:
    """DAM4SAM: sure, of a usual size, not soon after another, and a look-alike was told apart."""
    usual_N = _usual_areas(facts_N)
    of_usual_size_N = np.abs(evidence.area - usual_N) <= ANCHOR_AREA * usual_N
    told_apart: BoolArray = (
        (evidence.predicted_iou > ANCHOR_IOU)
        & of_usual_size_N
        & (usual_N > 0)
        & (time_N - facts_N["anchored"] > ANCHOR_GAP_FRAMES)
        & (evidence.alone_iou <= ANCHOR_ALONE_IOU)
    )
    return told_apart


def _usual_areas(facts_N: Facts) -> npt.NDArray[np.float64]:
    """Median of the areas on the last frames that each object was seen on; 0 where there is none.

    Until there are ten, the first of them counts for those that are missing.
    """
    areas = facts_N["areas"]
    count = np.count_nonzero(areas, axis=1)
    first = np.take_along_axis(areas, np.maximum(count - 1, 0)[:, None], 1)
    median: npt.NDArray[np.float64] = np.median(np.where(areas > 0, areas, first), axis=1)
    return median
