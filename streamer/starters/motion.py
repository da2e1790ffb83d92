"""A starter for cameras that stand still: what moves before the background is a thing.

It needs no weights and no labels, costs a few milliseconds a look, and wants several looks a
second. It finds nothing that stands still, and takes two things that touch for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from streamer.errors import StandsStillError
from streamer.starters.camera_motion import CameraMotion
from streamer.starters.detection import Detection, ImageArray

LONGEST_SIDE = 384  # of the small picture that is looked at
LEARNING_LOOKS = 10
HISTORY_LOOKS = 200
MOVED_LOOKS = 2  # in a row: the background is another one now, and not only the mast was hit
# A look's weight: what came to stand is background after 30 looks. MOG2's own, from the number of
# pictures seen, takes a car of one colour for background after two looks in the beginning.
LEARNING_RATE = 0.0035
VARIANCE_THRESHOLD = 25.0  # squared distance to the background, in variances
FOREGROUND = 255  # what MOG2 calls it; a shadow is 127
# More of the picture than this is no thing that moves: a lorry right before the camera, which
# passes, or another light, which stays and is learned after a while.
LARGEST_SHARE = 0.5
PATIENCE_LOOKS = 20
GAINS = (0.4, 2.5)  # how much another exposure may be
LEAST_PIXELS = 12  # of the small picture
# What left its place lets the background come to light, which looks new and does not move. A
# thing has pixels that differ from the picture before.
CHANGED_LEVELS = 12
LEAST_CHANGED = 0.08
FRINGE = 0.15
_SPECK = np.ones((3, 3), np.uint8)


class MotionStarter:
    """A background model of one camera (MOG2); raises ``StandsStillError`` while it is no use."""

    def __init__(self) -> None:
        self._camera = CameraMotion()
        self._background = _new_background()
        self._looks = 0
        self._covered_looks = self._moved_looks = 0
        self._before: ImageArray | None = None

    def __call__(self, image: ImageArray) -> Sequence[Detection]:
        """What moves in ``image``, RGB uint8 (height, width, 3): boxes without scores."""
        height, width = image.shape[:2]
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        if self._before is not None and self._before.shape != grey.shape:
            self._begin_anew()  # the background is of another size
        if self._camera.moved(grey):
            self._moved_looks += 1
            if self._moved_looks >= MOVED_LOOKS:
                self._begin_anew()
            raise StandsStillError("the camera moves: what moves before it cannot be told")
        self._moved_looks = 0
        exposed = self._as_exposed_before(small)
        # -1: as fast as so few pictures ask for.
        learning_rate = -1 if self._looks < LEARNING_LOOKS else LEARNING_RATE
        foreground = self._background.apply(exposed, learningRate=learning_rate)
        moving = np.asarray(foreground == FOREGROUND)
        grey = np.asarray(cv2.cvtColor(exposed, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        before, self._before = self._before, grey
        self._looks += 1
        if self._looks <= LEARNING_LOOKS or before is None:
            raise StandsStillError(
                f"learning what stands still, {self._looks} of {LEARNING_LOOKS} pictures"
            )
        if moving.mean() > LARGEST_SHARE:
            self._covered_looks += 1
            if self._covered_looks >= PATIENCE_LOOKS:
                self._begin_anew()
            raise StandsStillError("most of the picture changed: something is before the camera")
        self._covered_looks = 0
        changed = cv2.absdiff(grey, before) > CHANGED_LEVELS
        boxes = _boxes(moving.astype(np.uint8), changed)
        across, down = width / size[0], height / size[1]
        return [
            Detection((x0 * across, y0 * down, x1 * across, y1 * down)) for x0, y0, x1, y1 in boxes
        ]

    def _as_exposed_before(self, small: ImageArray) -> ImageArray:
        """The picture as bright as the background is known.

        A camera's automatic exposure darkens all of it when a white car comes. The median: what
        moves covers less than half.
        """
        if self._looks == 0:
            return small
        known = np.asarray(self._background.getBackgroundImage(), dtype=np.float32)[::4, ::4]
        gains = np.median((known + 1) / (small[::4, ::4].astype(np.float32) + 1), axis=(0, 1))
        exposed = small * np.clip(gains, *GAINS).astype(np.float32)
        return np.asarray(np.clip(exposed, 0, 255), dtype=np.uint8)

    def _begin_anew(self) -> None:
        self._background = _new_background()
        self._looks = self._covered_looks = 0
        self._before = None


def _new_background() -> cv2.BackgroundSubtractorMOG2:
    return cv2.createBackgroundSubtractorMOG2(HISTORY_LOOKS, VARIANCE_THRESHOLD, True)


def _boxes(moving: ImageArray, changed: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """The boxes of connected things in a (height, width) mask; specks and ghosts left out."""
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
    """From where to where a thing reaches, by how many of its pixels lie in each row or column.

    Shadows, and what another exposure leaves over, hang on it as thin threads.
    """
    enough = np.flatnonzero(filled >= FRINGE * filled.max())
    return int(enough[0]), int(enough[-1]) + 1
