"""The tracker's inputs and outputs: prompts and tracks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

MaskArray = npt.NDArray[np.bool_]


class TrackState(StrEnum):
    """Whether the object is visible on this frame."""

    VISIBLE = "visible"
    OCCLUDED = "occluded"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user's indication of an object, in pixels of the source frame.

    Give points, a box, both, or a mask. ``point_labels`` holds 1 for a point on the object and 0
    for one outside it. ``box_xyxy`` is half-open and is clipped to the frame. ``mask`` is boolean
    (height, width) of the frame and excludes points and box. On a live object, points add to
    those already given for the same frame unless ``replace_points`` is set.
    """

    object_id: int
    points_xy: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    box_xyxy: tuple[float, float, float, float] | None = None
    mask: MaskArray | None = None
    replace_points: bool = False


@dataclass(frozen=True, slots=True)
class Track:
    """One object on one frame.

    ``box_xyxy`` is half-open in source pixels, (0, 0, 0, 0) when no pixel is set; ``crop`` is
    the boolean mask inside that box, (y1 - y0, x1 - x0); ``area`` counts its pixels.
    ``predicted_iou`` is the decoder's own estimate, 0..1; ``object_score`` the probability that
    the object is in the picture (sigmoid of the occlusion logit). ``calibrated_iou`` is that
    estimate calibrated on clips with known masks, None for a model without a calibration.
    ``pointer_similarity``, -1..1: cosine similarity to the closest object pointer of the object's
    prompted frames; None before there is one. ``predicted_box_xyxy``: the box of a hidden object
    extrapolated from its motion, in source pixels, possibly beyond the frame; None for a visible
    object, one hidden for too long, or without the robust memory policy. ``logits`` (low
    resolution, float32, 1/4 of the model's image size) only on request.
    """

    object_id: int
    state: TrackState
    box_xyxy: tuple[int, int, int, int]
    crop: MaskArray
    area: int
    predicted_iou: float
    object_score: float
    frame_height: int
    frame_width: int
    calibrated_iou: float | None = None
    pointer_similarity: float | None = None
    predicted_box_xyxy: tuple[float, float, float, float] | None = None
    logits: npt.NDArray[np.float32] | None = None

    @classmethod
    def of_mask(
        cls,
        object_id: int,
        mask: MaskArray,
        predicted_iou: float,
        calibrated_iou: float | None = None,
    ) -> Track:
        """An object of a single picture, from its mask (H, W bool)."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (0, 0, 0, 0)
        if rows.size:
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        x0, y0, x1, y1 = box
        return cls(
            object_id=object_id,
            state=TrackState.VISIBLE if rows.size else TrackState.OCCLUDED,
            box_xyxy=box,
            crop=mask[y0:y1, x0:x1],
            area=int(np.count_nonzero(mask)),
            predicted_iou=float(predicted_iou),
            object_score=1.0,
            frame_height=mask.shape[0],
            frame_width=mask.shape[1],
            calibrated_iou=calibrated_iou,
        )

    @property
    def mask(self) -> MaskArray:
        """The mask at source resolution, (frame_height, frame_width) bool; computed on demand."""
        full = np.zeros((self.frame_height, self.frame_width), dtype=np.bool_)
        x0, y0, x1, y1 = self.box_xyxy
        full[y0:y1, x0:x1] = self.crop
        return full


@dataclass(frozen=True, slots=True)
class StepFacts:
    """A step's findings about a stream's whole picture; needs the robust policy.

    ``scene_cut``: this frame shows another scene than the previous one. ``camera_motion``: the
    picture's shift since the previous frame, x and y in shares of its width and height; None where
    it was not computed: without objects, on the first frame, across a cut.
    """

    scene_cut: bool = False
    camera_motion: tuple[float, float] | None = None
