"""Whether the camera stands still: corners of the picture are looked for where they were.

Corners are taken from every part of the picture alike, and it is the share of all of them that
counts: a car on a plain street has many, but not most parts. They are compared with the look
before, where a pan shows at once, and with a reference of a while ago, where a slow one adds up.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamer.starters.detection import ImageArray

Corners = npt.NDArray[np.float32]  # (N, 1, 2) x, y

COLUMNS, ROWS = 8, 5
CORNERS_OF_A_PART = 3
FEWEST_CORNERS = 12  # of fewer nothing can be told: a plain wall, or the night
# In pixels of the small picture. From look to look noise moves a corner by a tenth, a mast in the
# wind by a quarter; over a minute it may lean by some pixels.
MOVED_PX = 1.0
DRIFTED_PX = 5.0
MOVED_SHARE = 0.5
THERE_AND_BACK_PX = 0.5  # a corner that is not found again from its new place was none
REFERENCE_LOOKS = 60


class CameraMotion:
    """Told one small grey picture after the other, uint8 (height, width)."""

    def __init__(self) -> None:
        self._before: tuple[ImageArray, Corners] | None = None
        self._reference: tuple[ImageArray, Corners] | None = None
        self._looks = 0

    def moved(self, grey: ImageArray) -> bool:
        """Whether the camera points elsewhere than on the pictures before."""
        moved = (self._before is not None and _moved(*self._before, grey, MOVED_PX)) or (
            self._reference is not None and _moved(*self._reference, grey, DRIFTED_PX)
        )
        self._before = (grey, _corners(grey))
        self._looks += 1
        if moved or self._reference is None or self._looks >= REFERENCE_LOOKS:
            self._reference = self._before
            self._looks = 0
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
    """Whether most corners are elsewhere; those that are gone say nothing."""
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
    # The fourth argument is where the answer may be put; None, although it is not typed so.
    where, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        first, second, corners, None, winSize=(15, 15), maxLevel=3
    )
    return where, found.ravel() == 1
