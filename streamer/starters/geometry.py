"""Geometry of boxes: x0, y0, x1, y1, half-open; arrays of them are (N, 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamer.types import Box

Boxes = npt.NDArray[np.float64]


def boxes_of(boxes: Sequence[Sequence[float]]) -> Boxes:
    """Boxes as one (N, 4) array; N may be 0."""
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def areas(boxes: Boxes) -> npt.NDArray[np.float64]:
    """(N,) areas; 0 for empty boxes."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def intersections(first: Boxes, second: Boxes) -> npt.NDArray[np.float64]:
    """(N, M) common areas of N boxes with M boxes."""
    upper = np.maximum(first[:, None, :2], second[None, :, :2])
    lower = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(lower - upper, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def ious(first: Boxes, second: Boxes) -> npt.NDArray[np.float64]:
    """(N, M) intersection over union."""
    common = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None, :] - common
    return np.asarray(common / np.maximum(union, 1e-9))


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    return float(ious(boxes_of([first]), boxes_of([second]))[0, 0])


def centre(box: Sequence[float]) -> tuple[float, float]:
    """The centre of a box, x and y."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def diagonal(box: Sequence[float]) -> float:
    """The length of the box's diagonal."""
    return math.hypot(box[2] - box[0], box[3] - box[1])


def moved(box: Box, dx: float, dy: float) -> Box:
    """The box, moved."""
    return box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy


def scaled(box: Box, across: float, down: float) -> Box:
    """The box in a picture of another size."""
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def distance_in_sizes(first: Sequence[float], second: Sequence[float]) -> float:
    """The distance between the centres, in diagonals of the smaller box."""
    (x0, y0), (x1, y1) = centre(first), centre(second)
    return math.hypot(x1 - x0, y1 - y0) / max(min(diagonal(first), diagonal(second)), 1e-9)


def size_ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """The smaller diagonal over the larger, 0..1."""
    small, large = sorted((diagonal(first), diagonal(second)))
    return small / max(large, 1e-9)
