"""A motion detector for fixed cameras, by background subtraction (MOG2).

It needs no weights, gives no labels, costs a few milliseconds a pass, and needs several passes a
second. It detects nothing that stands still, and takes two things that touch for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from streamer.errors import DetectorNotReady
from streamer.starters.camera_motion import CameraMotion
from streamer.types import Detection, ImageArray

LONGEST_SIDE = 384  # of the small picture that it works on
LEARNING_PASSES = 10
HISTORY_PASSES = 200
MOVED_PASSES = 2  # in a row: the camera was turned, not only shaken once
# The weight of one pass: a thing that stops is background after 30 passes. MOG2's own rate, which
# falls with the number of pictures, absorbs a car of one colour after two passes in the beginning.
LEARNING_RATE = 0.0035
VARIANCE_THRESHOLD = 25.0  # squared distance to the background, in variances
FOREGROUND = 255  # what MOG2 calls it; a shadow is 127
# A larger share of the picture is no single moving thing: a lorry right before the camera, which
# passes, or a change of light, which stays and is learned after a while.
LARGEST_SHARE = 0.5
PATIENCE_PASSES = 20
GAINS = (0.4, 2.5)  # bounds of the correction of a changed exposure
LEAST_PIXELS = 12  # of the small picture
# A thing that leaves its place uncovers background, which looks new and does not move. A moving
# thing has pixels that differ from the previous picture.
CHANGED_LEVELS = 12
LEAST_CHANGED = 0.08
FRINGE = 0.15
_SPECK = np.ones((3, 3), np.uint8)


class MotionDetector:
    """A background model of one camera; raises ``DetectorNotReady`` while it is not usable."""

    def __init__(self) -> None:
        self._camera = CameraMotion()
        self._background = _new_background()
        self._passes = 0
        self._covered_passes = self._moved_passes = 0
        self._before: ImageArray | None = None

    def __call__(self, image: ImageArray) -> Sequence[Detection]:
        """What moves in ``image``, RGB uint8 (height, width, 3): boxes without scores."""
        height, width = image.shape[:2]
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        if self._before is not None and self._before.shape != grey.shape:
            self._restart()  # the background is of another size
        if self._camera.moved(grey):
            self._moved_passes += 1
            if self._moved_passes >= MOVED_PASSES:
                self._restart()
            raise DetectorNotReady("the camera moves: moving objects cannot be detected")
        self._moved_passes = 0
        exposed = self._as_exposed_before(small)
        # -1: MOG2's own rate, which is fast for the first pictures.
        learning_rate = -1 if self._passes < LEARNING_PASSES else LEARNING_RATE
        foreground = self._background.apply(exposed, learningRate=learning_rate)
        moving = np.asarray(foreground == FOREGROUND)
        grey = np.asarray(cv2.cvtColor(exposed, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        before, self._before = self._before, grey
        self._passes += 1
        if self._passes <= LEARNING_PASSES or before is None:
            raise DetectorNotReady(
                f"learning the background, {self._passes} of {LEARNING_PASSES} pictures"
            )
        if moving.mean() > LARGEST_SHARE:
            self._covered_passes += 1
            if self._covered_passes >= PATIENCE_PASSES:
                self._restart()
            raise DetectorNotReady(
                "most of the picture changed: something blocks the camera, or the light changed"
            )
        self._covered_passes = 0
        changed = cv2.absdiff(grey, before) > CHANGED_LEVELS
        boxes = _boxes(moving.astype(np.uint8), changed)
        across, down = width / size[0], height / size[1]
        return [
            Detection((x0 * across, y0 * down, x1 * across, y1 * down)) for x0, y0, x1, y1 in boxes
        ]

    def _as_exposed_before(self, small: ImageArray) -> ImageArray:
        """The picture with the brightness of the learned background.

        A camera's automatic exposure darkens everything when a white car appears. The median,
        because moving things cover less than half of the picture.
        """
        if self._passes == 0:
            return small
        known = np.asarray(self._background.getBackgroundImage(), dtype=np.float32)[::4, ::4]
        gains = np.median((known + 1) / (small[::4, ::4].astype(np.float32) + 1), axis=(0, 1))
        exposed = small * np.clip(gains, *GAINS).astype(np.float32)
        return np.asarray(np.clip(exposed, 0, 255), dtype=np.uint8)

    def _restart(self) -> None:
        self._background = _new_background()
        self._passes = self._covered_passes = 0
        self._before = None


def _new_background() -> cv2.BackgroundSubtractorMOG2:
    return cv2.createBackgroundSubtractorMOG2(HISTORY_PASSES, VARIANCE_THRESHOLD, True)


def _boxes(moving: ImageArray, changed: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """The boxes of connected regions in a (height, width) mask, without specks and ghosts."""
    side = max(3, max(moving.shape) // 64) | 1
    joined = np.ones((side, side), np.uint8)
    opened = cv2.morphologyEx(moving, cv2.MORPH_OPEN, _SPECK)
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, joined)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    changed_pixels = np.bincount(labels[changed], minlength=count)
    boxes = []
    for index in range(1, count):  # 0 is the background
        x, y, width, height, area = (int(each) for each in stats[index])
        if area >= LEAST_PIXELS and changed_pixels[index] >= LEAST_CHANGED * area:
            part = labels[y : y + height, x : x + width] == index
            left, right = _without_fringe(part.sum(0))
            top, bottom = _without_fringe(part.sum(1))
            boxes.append((x + left, y + top, x + right, y + bottom))
    return boxes


def _without_fringe(filled: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Start and end of a thing, from its number of pixels in each row or column.

    Shadows and remains of an exposure change hang on it as thin threads.
    """
    enough = np.flatnonzero(filled >= FRINGE * filled.max())
    return int(enough[0]), int(enough[-1]) + 1
