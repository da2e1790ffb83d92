"""Whether the camera moves: corners of the picture are tracked from pass to pass.

Corners are taken evenly from all parts of the picture, and the share of all of them counts: a car
on a plain street has many corners, but not most parts. They are compared with the previous pass,
where a pan shows at once, and with an older reference, where a slow pan adds up.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamer.types import ImageArray

Corners = npt.NDArray[np.float32]  # (N, 1, 2) x, y

COLUMNS, ROWS = 8, 5
CORNERS_OF_A_PART = 3
FEWEST_CORNERS = 12  # with fewer there is no answer: a plain wall, or the night
# In pixels of the small picture. From pass to pass noise moves a corner by a tenth, a mast in the
# wind by a quarter; over a minute it may lean by some pixels.
MOVED_PX = 1.0
DRIFTED_PX = 5.0
MOVED_SHARE = 0.5
THERE_AND_BACK_PX = 0.5  # a corner that is not tracked back to its place is unusable
REFERENCE_PASSES = 60


class CameraMotion:
    """Compares one small grey picture after another, uint8 (height, width)."""

    def __init__(self) -> None:
        self._before: tuple[ImageArray, Corners] | None = None
        self._reference: tuple[ImageArray, Corners] | None = None
        self._passes = 0

    def moved(self, grey: ImageArray) -> bool:
        """Whether the camera points elsewhere than in the previous pictures."""
        moved = (self._before is not None and _moved(*self._before, grey, MOVED_PX)) or (
            self._reference is not None and _moved(*self._reference, grey, DRIFTED_PX)
        )
        self._before = (grey, _corners(grey))
        self._passes += 1
        if moved or self._reference is None or self._passes >= REFERENCE_PASSES:
            self._reference = self._before
            self._passes = 0
        return moved


def _corners(grey: ImageArray) -> Corners:
    """The best corners of every part of the picture."""
    height, width = grey.shape
    found = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            top, left = row * height // ROWS, column * width // COLUMNS
            part = grey[top : (row + 1) * height // ROWS, left : (column + 1) * width // COLUMNS]
            corners = cv2.goodFeaturesToTrack(part, CORNERS_OF_A_PART, 0.1, 5)
            if corners is not None:  # None, not an empty array, where there are none
                found.append(corners + np.array([left, top]))
    if not found:
        return np.zeros((0, 1, 2), dtype=np.float32)
    return np.concatenate(found).astype(np.float32)


def _moved(before: ImageArray, corners: Corners, now: ImageArray, least_px: float) -> bool:
    """Whether most corners moved; corners that are lost count as not moved."""
    if before.shape != now.shape:
        return True
    if len(corners) < FEWEST_CORNERS:
        return False
    there, found = _followed(before, now, corners)
    back, found_back = _followed(now, before, there)
    error = np.linalg.norm((back - corners).reshape(-1, 2), axis=1)
    way = np.linalg.norm((there - corners).reshape(-1, 2), axis=1)
    elsewhere = found & found_back & (error < THERE_AND_BACK_PX) & (way > least_px)
    return bool(elsewhere.mean() >= MOVED_SHARE)


def _followed(
    first: ImageArray, second: ImageArray, corners: Corners
) -> tuple[Corners, npt.NDArray[np.bool_]]:
    # The fourth argument is an optional output array; None is valid, although not typed so.
    where, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        first, second, corners, None, winSize=(15, 15), maxLevel=3
    )
    return where, found.ravel() == 1
