"""Region similarity J and boundary accuracy F, as the DAVIS benchmark defines them.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation",
CVPR 2016, section 4. F depends on details of the benchmark's toolkit, which are reproduced here:
the side of an edge that is its boundary, the disc that tolerates small offsets, and the scores of
empty masks.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tracker.types import MaskArray

BOUNDARY_TOLERANCE = 0.008  # share of the image's diagonal


def jaccard(mask: MaskArray, truth: MaskArray) -> float:
    """Intersection over union of two boolean masks (H, W); 1.0 if both are empty."""
    _check_same_shape(mask, truth)
    union = int(np.count_nonzero(mask | truth))
    return 1.0 if union == 0 else int(np.count_nonzero(mask & truth)) / union


def boundary_f(mask: MaskArray, truth: MaskArray, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F-measure of the boundary pixels of two boolean masks (H, W); 1.0 if both are empty.

    A boundary pixel is right if the other boundary is at most ``tolerance`` away: below 1 a
    fraction of the image's diagonal (rounded up to whole pixels), otherwise pixels.
    """
    _check_same_shape(mask, truth)
    radius = math.ceil(tolerance if tolerance >= 1 else tolerance * math.hypot(*mask.shape))
    crop = _crop(mask | truth, radius)
    if crop is None:
        return 1.0
    mine, other = boundary(mask[crop]), boundary(truth[crop])
    count, true_count = int(mine.sum()), int(other.sum())
    if count == 0 or true_count == 0:
        # One mask has no boundary: precision and recall are 1 and 0, in either order.
        return 1.0 if count == true_count else 0.0
    precision = int((mine & dilate(other, radius)).sum()) / count
    recall = int((other & dilate(mine, radius)).sum()) / true_count
    total = precision + recall
    return 0.0 if total == 0 else 2 * precision * recall / total


def boundary(mask: MaskArray) -> MaskArray:
    """Pixels whose right, lower or lower right neighbour has the other value.

    The boundary is thus on the upper left of every edge. In the last row and column only the
    neighbour along the border counts; the last corner is never a boundary.
    """
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edges[:-1, :] |= mask[:-1, :] ^ mask[1:, :]
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def dilate(mask: MaskArray, radius: int) -> MaskArray:
    """The pixels within ``radius`` (Euclidean) of a mask."""
    height, width = mask.shape
    # Row sums make each row of the disc one subtraction, whatever its length.
    sums = np.zeros((height + 2 * radius, width + 2 * radius + 1), dtype=np.int32)
    sums[radius : radius + height, radius + 1 : radius + 1 + width] = mask
    np.cumsum(sums, axis=1, out=sums)
    reached: npt.NDArray[np.bool_] = np.zeros_like(mask)
    for offset in range(-radius, radius + 1):
        half = math.isqrt(radius * radius - offset * offset)
        rows = slice(radius + offset, radius + offset + height)
        right = sums[rows, radius + half + 1 : radius + half + 1 + width]
        left = sums[rows, radius - half : radius - half + width]
        reached |= right > left
    return reached


def _crop(mask: MaskArray, margin: int) -> tuple[slice, slice] | None:
    """The part of the picture that contains every boundary and its dilation."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin - 1), int(rows[-1]) + margin + 2),
        slice(max(0, int(columns[0]) - margin - 1), int(columns[-1]) + margin + 2),
    )


def _check_same_shape(mask: MaskArray, truth: MaskArray) -> None:
    if mask.shape != truth.shape or mask.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(
            f"two boolean masks of one shape are needed, got {mask.dtype} {mask.shape} "
            f"and {truth.dtype} {truth.shape}"
        )
