"""Checks a user's prompt and converts it to model pixels.

Dimensions: K points, S image size, H W source size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracker.errors import PromptError
from tracker.images.transforms import mask_to_model, points_to_model
from tracker.model.prompt_encoder import BOX_FIRST, BOX_LAST
from tracker.types import Prompt

# Bound on an object's points on one frame: SAM was trained with at most 8, and each costs time.
LARGEST_POINT_COUNT = 64


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A checked prompt: points and box corners in model pixels, or a mask.

    ``points_K2`` float32 and ``labels_K`` int64 (0, 1, and 2, 3 for box corners); K is 0 where
    ``mask_1SS`` (model pixels, 0 and 1, on the host) is given. With both, a closer look at the
    points found the mask, whose IoU it predicted to be ``mask_iou``.
    """

    object_id: int
    points_K2: npt.NDArray[np.float32]
    labels_K: npt.NDArray[np.int64]
    mask_1SS: Tensor | None = None
    mask_iou: float = 1.0
    replace_points: bool = False

    @property
    def is_positive(self) -> bool:
        """Whether any of it is on the object."""
        return self.mask_1SS is not None or bool((self.labels_K > 0).any())

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        mask = 0 if self.mask_1SS is None else self.mask_1SS.nbytes
        return self.points_K2.nbytes + self.labels_K.nbytes + mask

    def after(self, earlier: PreparedPrompt | None) -> PreparedPrompt:
        """This prompt, added to an earlier one on the same frame. Raises PromptError."""
        if earlier is None or self.mask_1SS is not None or self.replace_points:
            return self
        if BOX_FIRST in self.labels_K and BOX_FIRST in earlier.labels_K:
            raise PromptError(
                f"object {self.object_id}: this frame already has a box; "
                "set replace_points to give another"
            )
        points = np.concatenate((earlier.points_K2, self.points_K2))
        labels = np.concatenate((earlier.labels_K, self.labels_K))
        if len(labels) > LARGEST_POINT_COUNT:
            raise PromptError(
                f"object {self.object_id}: more than {LARGEST_POINT_COUNT} points on one frame; "
                "set replace_points to start again"
            )
        # Box corners come first, as in training.
        order = np.argsort(labels < BOX_FIRST, kind="stable")
        return PreparedPrompt(self.object_id, points[order], labels[order])


def prepare(prompt: Prompt, height: int, width: int, image_size: int) -> PreparedPrompt:
    """Check a prompt against a frame of height × width pixels. Raises PromptError."""
    name = f"object {prompt.object_id}"
    if prompt.mask is not None:
        if prompt.points_xy or prompt.box_xyxy is not None:
            raise PromptError(f"{name}: give a mask, or points and a box, not both")
        if prompt.mask.shape != (height, width):
            raise PromptError(
                f"{name}: the mask is {prompt.mask.shape[1]}×{prompt.mask.shape[0]} pixels, "
                f"the frame is {width}×{height}"
            )
        if prompt.mask.dtype != np.bool_:
            raise PromptError(f"{name}: the mask must be boolean, got {prompt.mask.dtype}")
        if not prompt.mask.any():
            raise PromptError(f"{name}: the mask is empty; remove the object instead")
        mask_1SS = mask_to_model(prompt.mask, image_size)
        if not mask_1SS.any():
            raise PromptError(
                f"{name}: the mask is too small or too thin, nothing of it is left at the "
                f"{image_size}×{image_size} pixels of the network; give a point"
            )
        none = np.zeros((0, 2), np.float32)
        return PreparedPrompt(prompt.object_id, none, np.zeros(0, np.int64), mask_1SS)

    if len(prompt.points_xy) != len(prompt.point_labels):
        raise PromptError(
            f"{name}: {len(prompt.points_xy)} points but {len(prompt.point_labels)} labels"
        )
    if not prompt.points_xy and prompt.box_xyxy is None:
        raise PromptError(f"{name}: give at least a point, a box or a mask")
    if len(prompt.points_xy) > LARGEST_POINT_COUNT - 2:
        raise PromptError(
            f"{name}: at most {LARGEST_POINT_COUNT - 2} points, got {len(prompt.points_xy)}"
        )
    places: list[tuple[float, float]] = []
    labels: list[int] = []
    if prompt.box_xyxy is not None:
        x0, y0, x1, y1 = prompt.box_xyxy
        if not all(map(math.isfinite, prompt.box_xyxy)) or x0 >= x1 or y0 >= y1:
            raise PromptError(
                f"{name}: a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {prompt.box_xyxy}"
            )
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise PromptError(
                f"{name}: the box {prompt.box_xyxy} lies outside the {width}×{height} frame"
            )
        # The network was trained with boxes clipped to the picture.
        places += [(max(x0, 0), max(y0, 0)), (min(x1, width), min(y1, height))]
        labels += [BOX_FIRST, BOX_LAST]
    for (x, y), label in zip(prompt.points_xy, prompt.point_labels, strict=True):
        if label not in (0, 1):
            raise PromptError(
                f"{name}: a point's label is 1 (on the object) or 0 (not), got {label}"
            )
        if not (0 <= x < width and 0 <= y < height):  # also refuses NaN
            raise PromptError(
                f"{name}: the point ({x}, {y}) lies outside the {width}×{height} frame"
            )
        places.append((x, y))
        labels.append(label)
    points = points_to_model(np.array(places, np.float32), height, width, image_size)
    return PreparedPrompt(
        prompt.object_id,
        points,
        np.array(labels, np.int64),
        replace_points=prompt.replace_points,
    )
