"""The appearance of a detection or an object: a coarse, cheap histogram of its colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from streamer.types import ImageArray

ColourHistogram = npt.NDArray[np.float32]
_HUES, _SATURATIONS, _VALUES = 12, 3, 3
# Only the middle of a box counts: its corners are background.
_MIDDLE = 0.7
_LONGEST_SIDE = 64


def colour_histogram(image: ImageArray, box_xyxy: Sequence[float]) -> ColourHistogram:
    """The colours in the middle of a box, as (108,) float32 shares that add up to 1."""
    x0, y0, x1, y1 = box_xyxy
    margin_x, margin_y = (x1 - x0) * (1 - _MIDDLE) / 2, (y1 - y0) * (1 - _MIDDLE) / 2
    height, width = image.shape[:2]
    left, top = max(0, round(x0 + margin_x)), max(0, round(y0 + margin_y))
    right, bottom = min(width, round(x1 - margin_x)), min(height, round(y1 - margin_y))
    patch = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    step = max(1, max(patch.shape[:2]) // _LONGEST_SIDE)
    hsv = cv2.cvtColor(np.ascontiguousarray(patch[::step, ::step]), cv2.COLOR_RGB2HSV)
    bins = [_HUES, _SATURATIONS, _VALUES]
    histogram = cv2.calcHist([hsv], [0, 1, 2], None, bins, [0, 180, 0, 256, 0, 256]).ravel()
    return np.asarray(histogram / max(float(histogram.sum()), 1.0), dtype=np.float32)


def similarity(first: ColourHistogram, second: ColourHistogram) -> float:
    """The share of colours that two histograms have in common, 0..1."""
    return float(np.minimum(first, second).sum())
