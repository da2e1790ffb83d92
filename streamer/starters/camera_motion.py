"""Whether the camera stands still: corners of the picture are looked for where they were.

A reference picture is kept, so that a slow pan adds up to something, and a new one is taken when
the camera moved or after a while, as light and what stands in the picture change.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamer.starters.detection import ImageArray

CORNERS = 200
FEWEST_CORNERS = 12  # of fewer nothing can be told: a plain wall, or the night
# In pixels of the small picture. Noise moves a corner by a tenth, wind a mast by half.
MOVED_PX = 1.0
FOUND_AGAIN = 0.35  # a smaller share: it is another picture
REFERENCE_LOOKS = 60


class CameraMotion:
    """Told one small grey picture after the other, uint8 (height, width)."""

    def __init__(self) -> None:
        self._reference: ImageArray | None = None
        self._corners: npt.NDArray[np.float32] = np.zeros((0, 1, 2), dtype=np.float32)
        self._looks = 0

    def moved(self, grey: ImageArray) -> bool:
        """Whether the camera points elsewhere than on the pictures before."""
        moved = self._reference is not None and self._has_moved(self._reference, grey)
        self._looks += 1
        if moved or self._reference is None or self._looks >= REFERENCE_LOOKS:
            self._reference = grey
            found = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, 5)
            # None, not an empty array, where there are no corners.
            corners = np.zeros((0, 1, 2)) if found is None else found
            self._corners = np.asarray(corners, dtype=np.float32)
            self._looks = 0
        return moved

    def _has_moved(self, reference: ImageArray, grey: ImageArray) -> bool:
        if reference.shape != grey.shape:
            return True
        if len(self._corners) < FEWEST_CORNERS:
            return False
        # The fourth argument is where the answer may be put; None, although it is not typed so.
        where, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
            reference, grey, self._corners, None, winSize=(15, 15), maxLevel=3
        )
        again = found.ravel() == 1
        if again.mean() < FOUND_AGAIN:
            return True
        ways = np.linalg.norm((where - self._corners).reshape(-1, 2)[again], axis=1)
        # The median: what moves in front of a camera that stands still has less than half.
        return bool(np.median(ways) > MOVED_PX)
