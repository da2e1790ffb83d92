"""Prompts made from the ground truth, for the first frame that shows an object."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tracker.evaluation.clips import BoxXyxy
from tracker.evaluation.measures import dilate
from tracker.scenes.frame import mask_box
from tracker.types import MaskArray, Prompt

PromptKind = Literal["mask", "box", "point"]


def first_frame_prompt(object_id: int, truth: MaskArray, kind: PromptKind) -> Prompt:
    """A prompt of the given kind for the object whose true mask is ``truth`` (H, W bool).

    The box is that of the mask; the point is as deep inside the mask as possible.
    Raises ValueError if the mask is empty.
    """
    if not truth.any():
        raise ValueError(f"object {object_id} has no pixel on the first frame")
    if kind == "mask":
        return Prompt(object_id, mask=truth)
    x0, y0, x1, y1 = mask_box(truth)
    if kind == "box":
        return Prompt(object_id, box_xyxy=(float(x0), float(y0), float(x1), float(y1)))
    row, column = innermost_pixel(truth[y0:y1, x0:x1])
    point = (float(x0 + column) + 0.5, float(y0 + row) + 0.5)
    return Prompt(object_id, points_xy=(point,), point_labels=(1,))


def box_prompt(object_id: int, box: BoxXyxy, *, as_point: bool = False) -> Prompt:
    """A prompt for an object annotated with a box only; ``as_point``: its centre."""
    if not as_point:
        return Prompt(object_id, box_xyxy=box)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return Prompt(object_id, points_xy=(middle,), point_labels=(1,))


def innermost_pixel(mask: MaskArray) -> tuple[int, int]:
    """(row, column) of a pixel of the mask that survives the most erosion; the middle one."""
    # Pixels beyond the border count as outside the mask.
    remaining = np.pad(mask, 1)
    while True:
        eroded = ~dilate(~remaining, 1)
        eroded[[0, -1], :] = False
        eroded[:, [0, -1]] = False
        if not eroded.any():
            break
        remaining = eroded
    rows, columns = np.nonzero(remaining)
    distance = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    best = int(np.argmin(distance))
    return int(rows[best]) - 1, int(columns[best]) - 1
