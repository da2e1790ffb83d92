"""Flicker: a mask's change of shape from frame to frame, beyond that of the object.

A mask is first moved by the shift of its centre of mass (whole pixels), so that motion does not
count; the true mask's change of shape, measured the same way, is subtracted.
"""

from __future__ import annotations

import numpy as np

from tracker.types import MaskArray


def change_of_shape(before: MaskArray, now: MaskArray) -> float | None:
    """1 - IoU of a mask (H, W) with the one before, centred; None if either is empty."""
    rows, columns = np.nonzero(before)
    rows_now, columns_now = np.nonzero(now)
    if rows.size == 0 or rows_now.size == 0:
        return None
    rows = rows + round(float(rows_now.mean() - rows.mean()))
    columns = columns + round(float(columns_now.mean() - columns.mean()))
    height, width = now.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    shared = int(np.count_nonzero(now[rows[inside], columns[inside]]))
    return 1.0 - shared / (rows.size + rows_now.size - shared)


class FlickerMeter:
    """The flicker of one object; ``add`` every frame, in order."""

    def __init__(self) -> None:
        self._before: tuple[MaskArray, MaskArray] | None = None
        self._excess: list[float] = []

    def add(self, mask: MaskArray, truth: MaskArray) -> None:
        """Compare with the previous frame, if neither mask is empty on either."""
        if self._before is not None:
            own = change_of_shape(self._before[0], mask)
            true = change_of_shape(self._before[1], truth)
            if own is not None and true is not None:
                self._excess.append(max(0.0, own - true))
        self._before = (mask, truth)

    def skip(self) -> None:
        """Skip a frame without annotation; the next one has no previous frame."""
        self._before = None

    @property
    def mean(self) -> float | None:
        """Mean excess, 0 (steady) to 1; None if no two frames could be compared."""
        return float(np.mean(self._excess)) if self._excess else None
