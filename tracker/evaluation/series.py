"""The scores of one object of one clip, frame by frame, and their means.

As in the DAVIS toolkit's semi-supervised protocol, J and F do not score the prompt's frame and the
clip's last one; of a photograph the prompt's frame is all there is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracker.evaluation import absence
from tracker.evaluation.absence import Absence, Return
from tracker.evaluation.box_measures import BoxDistance, BoxScore, box_distance, box_score
from tracker.evaluation.clips import BoxXyxy, ClipFrame, EvaluationClip
from tracker.evaluation.covering import covered
from tracker.evaluation.flicker import FlickerMeter
from tracker.evaluation.measures import boundary_f, jaccard
from tracker.evaluation.switches import lies_elsewhere, switched
from tracker.scenes.frame import mask_box
from tracker.types import MaskArray

FEWEST_FRAMES = 3


@dataclass(frozen=True, slots=True)
class TrackedMask:
    """The tracker's result for one object on one frame; ``predicted_iou`` None: no track.

    ``calibrated_iou`` None: the model has no calibration.
    """

    mask: MaskArray
    predicted_iou: float | None = None
    calibrated_iou: float | None = None

    @property
    def box(self) -> BoxXyxy | None:
        """The mask's half-open box, None for an empty mask."""
        x0, y0, x1, y1 = mask_box(self.mask)
        return (float(x0), float(y0), float(x1), float(y1)) if x1 > x0 else None


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """Mean scores of one object in one clip, 0..1; None if it cannot be measured.

    ``returned``: J&F over the frames after an absence. ``switched``: its mask switched to another
    object. ``covering``: how much of another object its mask covers. ``area_share``: its true area
    on the prompt's frame, of the picture. ``predicted_iou`` and ``actual_iou``: a pair per mask;
    ``calibrated_iou``: as many, none without a calibration.
    """

    clip: str
    category: str
    object_id: int
    jaccard: float | None
    boundary_f: float | None
    returned: float | None
    box: BoxScore | None = None
    returns: tuple[Return, ...] = ()
    absence: Absence | None = None
    flicker: float | None = None
    switched: bool | None = None
    covering: float | None = None
    area_share: float | None = None
    predicted_iou: tuple[float, ...] = ()
    actual_iou: tuple[float, ...] = ()
    calibrated_iou: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        """J&F, the mean of the two."""
        if self.jaccard is None or self.boundary_f is None:
            return None
        return (self.jaccard + self.boundary_f) / 2


class ObjectSeries:
    """Scores of one object, frame by frame, from its prompt on."""

    def __init__(self, clip: EvaluationClip, object_id: int) -> None:
        self._clip, self._object_id = clip, object_id
        self._jaccard: list[float] = []
        self._boundary_f: list[float] = []
        self._areas: list[int] = []
        self._mask_areas: list[int] = []
        self._elsewhere: list[bool] = []
        self._compared = False
        self._covered: list[float | None] = []
        self._picture_area = 0
        self._flicker = FlickerMeter()
        self._distances: list[BoxDistance] = []
        self._predicted: list[float] = []
        self._actual: list[float] = []
        self._calibrated: list[float] = []
        self._annotated = 0

    def add(self, found: TrackedMask, frame: ClipFrame) -> None:
        """Score one frame, if the object is annotated on it."""
        truth = frame.truth.get(self._object_id)
        if truth is not None:
            self._annotated += 1
            self._add_mask(found, truth, frame)
        elif self._object_id in frame.boxes:
            self._annotated += 1
            true_box = frame.boxes[self._object_id]
            overlap = 0.0
            if true_box is not None:
                self._distances.append(box_distance(found.box, true_box))
                overlap = self._distances[-1].overlap
            self._pair(found, overlap)
        else:
            self._flicker.skip()

    @property
    def annotated(self) -> int:
        """The number of annotated frames, from the prompt's on."""
        return self._annotated

    def score(self) -> ObjectScore:
        """The means. At least ``FEWEST_FRAMES`` frames must be annotated."""
        masks = bool(self._areas)
        scored = slice(None) if self._clip.still else slice(1, -1)
        covering = [each for each in self._covered[scored] if each is not None]
        seen = absence.in_sight(self._areas) if masks else np.zeros(0, dtype=np.bool_)
        both = (np.array(self._jaccard) + np.array(self._boundary_f)) / 2
        back = absence.seen_again(seen)[scored]
        return ObjectScore(
            clip=self._clip.name,
            category=self._clip.category,
            object_id=self._object_id,
            jaccard=float(np.mean(self._jaccard[scored])) if masks else None,
            boundary_f=float(np.mean(self._boundary_f[scored])) if masks else None,
            returned=float(both[scored][back].mean()) if back.any() else None,
            box=box_score(self._distances),
            returns=tuple(absence.returns(seen, self._jaccard)),
            absence=absence.absence(self._areas, self._mask_areas) if masks else None,
            flicker=self._flicker.mean,
            switched=(
                switched(self._elsewhere) if self._compared and not self._clip.still else None
            ),
            covering=float(np.mean(covering)) if covering else None,
            area_share=self._areas[0] / self._picture_area if masks else None,
            predicted_iou=tuple(self._predicted),
            actual_iou=tuple(self._actual),
            calibrated_iou=tuple(self._calibrated),
        )

    def _add_mask(self, found: TrackedMask, truth: MaskArray, frame: ClipFrame) -> None:
        overlap = jaccard(found.mask, truth)
        self._jaccard.append(overlap)
        self._boundary_f.append(boundary_f(found.mask, truth))
        self._areas.append(int(np.count_nonzero(truth)))
        self._mask_areas.append(int(np.count_nonzero(found.mask)))
        self._flicker.add(found.mask, truth)
        others = [mask for key, mask in frame.truth.items() if key != self._object_id]
        others += frame.others.values()
        self._compared |= bool(others)
        self._elsewhere.append(lies_elsewhere(found.mask, truth, others))
        self._covered.append(covered(found.mask, others))
        self._picture_area = truth.size
        if self._areas[-1]:
            box = mask_box(truth)
            true_box = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
            self._distances.append(box_distance(found.box, true_box))
        self._pair(found, overlap)

    def _pair(self, found: TrackedMask, overlap: float) -> None:
        """Record a mask's predicted and actual IoU, except on the prompt's frame of a clip."""
        scored = self._clip.still or self._annotated > 1
        if scored and found.predicted_iou is not None and found.mask.any():
            self._predicted.append(found.predicted_iou)
            self._actual.append(overlap)
            if found.calibrated_iou is not None:
                self._calibrated.append(found.calibrated_iou)
