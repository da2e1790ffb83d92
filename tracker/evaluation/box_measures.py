"""Success and precision of boxes, as OTB and LaSOT define them.

Wu et al., "Online Object Tracking: A Benchmark", CVPR 2013: the success plot is the share of
frames whose overlap exceeds a threshold, for 21 thresholds from 0 to 1; the precision plot the
share whose centres are at most 0 to 50 pixels apart, ranked by the value at 20. Fan et
al., "LaSOT", CVPR 2019: normalised precision divides the distance by the size of the true box,
thresholds 0 to 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracker.evaluation.clips import BoxXyxy

OVERLAP_THRESHOLDS = np.linspace(0.0, 1.0, 21)
PIXEL_THRESHOLDS = np.arange(0.0, 51.0)
NORMALISED_THRESHOLDS = np.linspace(0.0, 0.5, 51)
RANKING_PIXELS = 20

Curve = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BoxDistance:
    """One predicted box against the true one; the distances are infinite without a prediction.

    ``overlap`` 0..1; ``centre_px``; ``normalised``: per width and height of the true box.
    """

    overlap: float
    centre_px: float
    normalised: float


@dataclass(frozen=True, slots=True)
class BoxScore:
    """Scores of one object over the frames on which it is visible, all 0..1.

    ``success`` is the curve over ``OVERLAP_THRESHOLDS``, ``success_auc`` its mean.
    """

    success_auc: float
    precision: float
    normalised_precision_auc: float
    success: tuple[float, ...]


def box_overlap(first: BoxXyxy, second: BoxXyxy) -> float:
    """Intersection over union of two half-open boxes; 0.0 if either is empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(first) + _area(second) - shared)


def box_distance(found: BoxXyxy | None, truth: BoxXyxy) -> BoxDistance:
    """Compare a tracked box (None: none) with the true one, which must not be empty."""
    if found is None or _area(found) <= 0:
        return BoxDistance(0.0, math.inf, math.inf)
    across = (found[0] + found[2] - truth[0] - truth[2]) / 2
    down = (found[1] + found[3] - truth[1] - truth[3]) / 2
    return BoxDistance(
        overlap=box_overlap(found, truth),
        centre_px=math.hypot(across, down),
        normalised=math.hypot(across / (truth[2] - truth[0]), down / (truth[3] - truth[1])),
    )


def box_score(distances: Sequence[BoxDistance]) -> BoxScore | None:
    """The scores over the frames of one object; None without a frame."""
    if not distances:
        return None
    success = success_curve([each.overlap for each in distances])
    return BoxScore(
        success_auc=float(success.mean()),
        precision=float(
            precision_curve([each.centre_px for each in distances], PIXEL_THRESHOLDS)[
                RANKING_PIXELS
            ]
        ),
        normalised_precision_auc=float(
            precision_curve([each.normalised for each in distances], NORMALISED_THRESHOLDS).mean()
        ),
        success=tuple(float(value) for value in success),
    )


def success_curve(overlaps: Sequence[float]) -> Curve:
    """Share of frames above each of ``OVERLAP_THRESHOLDS`` (21,)."""
    return _share(np.asarray(overlaps)[:, None] > OVERLAP_THRESHOLDS)


def precision_curve(distances: Sequence[float], thresholds: Curve) -> Curve:
    """Share of frames at most each threshold away."""
    return _share(np.asarray(distances)[:, None] <= thresholds)


def _share(matrix: npt.NDArray[np.bool_]) -> Curve:
    return np.asarray(matrix.mean(axis=0), dtype=np.float64)


def _area(box: BoxXyxy) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
