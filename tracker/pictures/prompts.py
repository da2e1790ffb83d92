"""Checks prompts on a picture, for one mask or for several at once.

Dimensions: N objects, K points of each, H W picture, h w the decoder's mask grid, S image size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from tracker.errors import PromptError
from tracker.host_arrays import view_of
from tracker.images.transforms import points_to_model
from tracker.model.prompt_encoder import BOX_FIRST, BOX_LAST, PADDING
from tracker.policy.decision import MASK_PROMPT_BIAS, MASK_PROMPT_SCALE
from tracker.sessions.prompts import LARGEST_POINT_COUNT


@dataclass(frozen=True, slots=True, eq=False)
class PicturePrompt:
    """What is asked of one picture, in its pixels; arrays, or lists that become arrays.

    ``points_xy`` (K, 2) with ``point_labels`` (K): 1 on the object (the default), 0 beside it, -1
    for padding; ``box_xyxy`` (4); ``mask`` boolean (H, W); ``previous_logits`` (h, w) or (1, h, w),
    the ``low_resolution_logits`` of an earlier result. All combine but the last two. With a
    leading dimension N in all that are given, they are prompts of N objects. ``image``: the index
    of the picture.
    """

    points_xy: npt.ArrayLike | None = None
    point_labels: npt.ArrayLike | None = None
    box_xyxy: npt.ArrayLike | None = None
    mask: npt.ArrayLike | None = None
    previous_logits: npt.ArrayLike | None = None
    image: int = 0


class PromptRows(NamedTuple):
    """Prompts of N objects for the network, on the host; K is 1 of padding without any point.

    ``points_NK2`` float32 model pixels, ``labels_NK`` int64, ``logits_N1hw`` float32.
    ``several``: they were given with the dimension N.
    """

    points_NK2: npt.NDArray[np.float32]
    labels_NK: npt.NDArray[np.int64]
    logits_N1hw: Tensor | None
    several: bool


def check(prompt: PicturePrompt, height: int, width: int, image_size: int) -> PromptRows:
    """Check a prompt against a picture of height × width pixels. Raises PromptError.

    Boxes become two points before the others. They may reach beyond the picture, as in the
    reference; a point may not.
    """
    dense = _dense(prompt, height, width, image_size // 4)
    given = [
        part
        for part in (
            None if prompt.box_xyxy is None else _boxes(prompt.box_xyxy, height, width),
            _points(prompt, height, width),
        )
        if part is not None
    ]
    counts = {len(points) for points, _, _ in given} | ({len(dense[0])} if dense else set())
    if not counts:
        raise PromptError("give points_xy, box_xyxy, mask or previous_logits")
    if len(counts) > 1:
        raise PromptError(
            f"prompts of {' and '.join(map(str, sorted(counts)))} objects were given together; "
            "give points, boxes and masks of equally many"
        )
    (count,) = counts
    if not count:
        raise PromptError("the arrays hold no object; give at least one")
    points = np.concatenate(
        [points for points, _, _ in given] or [np.zeros((count, 1, 2), np.float32)], axis=1
    )
    labels = np.concatenate(
        [labels for _, labels, _ in given] or [np.full((count, 1), PADDING)], axis=1
    )
    several = any(several for *_, several in given) or (dense is not None and dense[1])
    return PromptRows(
        points_to_model(points.astype(np.float32), height, width, image_size),
        labels.astype(np.int64),
        None if dense is None else dense[0],
        several,
    )


_Part = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], bool]


def _points(prompt: PicturePrompt, height: int, width: int) -> _Part | None:
    if prompt.points_xy is None:
        if prompt.point_labels is not None:
            raise PromptError("point_labels were given without points_xy")
        return None
    points = _numbers("points_xy", prompt.points_xy)
    if points.ndim not in (2, 3) or points.shape[-1] != 2 or not points.shape[-2]:
        raise PromptError(f"points_xy must be (K, 2) or (N, K, 2), got {points.shape}")
    if points.shape[-2] > LARGEST_POINT_COUNT:
        raise PromptError(f"at most {LARGEST_POINT_COUNT} points an object, got {points.shape[-2]}")
    labels = (
        np.ones(points.shape[:-1])
        if prompt.point_labels is None
        else _numbers("point_labels", prompt.point_labels)
    )
    if labels.shape != points.shape[:-1]:
        raise PromptError(f"{points.shape[:-1]} points_xy but {labels.shape} point_labels")
    if not np.isin(labels, (PADDING, 0, 1)).all():
        raise PromptError(
            "a point's label is 1 (on the object), 0 (not) or -1 (padding), got "
            f"{labels[~np.isin(labels, (PADDING, 0, 1))][0]:g}"
        )
    inside = (points >= 0).all(axis=-1) & (points < (width, height)).all(axis=-1)
    if (outside := points[~inside & (labels != PADDING)]).size:
        x, y = outside[0]
        raise PromptError(f"the point ({x:g}, {y:g}) lies outside the {width}×{height} picture")
    several = points.ndim == 3
    if not several:
        points, labels = points[None], labels[None]
    return points, labels.astype(np.int64), several


def _boxes(given: npt.ArrayLike, height: int, width: int) -> _Part:
    boxes = _numbers("box_xyxy", given)
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4:
        raise PromptError(f"box_xyxy must be (4,) or (N, 4), got {boxes.shape}")
    several = boxes.ndim == 2
    corners = boxes.reshape(-1, 2, 2)
    for box in boxes.reshape(-1, 4):
        x0, y0, x1, y1 = box
        if x0 >= x1 or y0 >= y1:
            raise PromptError(f"a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {box}")
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise PromptError(f"the box {box} lies outside the {width}×{height} picture")
    return corners, np.tile(np.array((BOX_FIRST, BOX_LAST)), (len(corners), 1)), several


def _dense(prompt: PicturePrompt, height: int, width: int, side: int) -> tuple[Tensor, bool] | None:
    if prompt.mask is not None and prompt.previous_logits is not None:
        raise PromptError("give a mask or previous_logits, not both")
    if prompt.mask is not None:
        mask = np.asarray(prompt.mask)
        if mask.ndim not in (2, 3) or mask.dtype != np.bool_:
            raise PromptError(
                f"mask must be boolean (H, W) or (N, H, W), got {mask.dtype} {mask.shape}"
            )
        if mask.shape[-2:] != (height, width):
            raise PromptError(
                f"the mask is {mask.shape[-1]}×{mask.shape[-2]} pixels, "
                f"the picture {width}×{height}"
            )
        rows = view_of(mask.reshape(-1, 1, height, width)).float()
        logits = F.interpolate(
            rows * MASK_PROMPT_SCALE + MASK_PROMPT_BIAS,
            (side, side),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        return logits, mask.ndim == 3
    if prompt.previous_logits is None:
        return None
    before = _numbers("previous_logits", prompt.previous_logits)
    if before.ndim not in (2, 3, 4) or before.shape[-2:] != (side, side):
        raise PromptError(
            f"previous_logits must be {(side, side)} or {('N', side, side)}, got {before.shape}; "
            "give the low_resolution_logits of an earlier result"
        )
    if before.ndim == 4 and before.shape[1] != 1:
        raise PromptError(
            f"previous_logits hold {before.shape[1]} masks of each object; choose one of them"
        )
    several = before.ndim == 4 or (before.ndim == 3 and len(before) != 1)
    return view_of(before.reshape(-1, 1, side, side)), several


def _numbers(name: str, given: npt.ArrayLike) -> npt.NDArray[np.float32]:
    try:
        numbers = np.ascontiguousarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name} is no array of numbers: {error}") from error
    if not np.isfinite(numbers).all():
        raise PromptError(f"{name} must be finite, got {numbers[~np.isfinite(numbers)][0]}")
    return numbers
