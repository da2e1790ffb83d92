"""The camera of the browser tests: a slow match with a number in every picture.

The clip is played for ever, so it runs forth and back and never jumps. Its true masks are known
by the number that is read from a picture.
"""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from tests.integration.browser.frame_counter import BITS, ImageArray, stamp, strip_height
from tracker.scenes import Match, SceneFrame

MaskArray = npt.NDArray[np.bool_]

# Evaluation's part of the seeds: nano was not trained on it. No player is occluded.
SEED, PLAYERS, PACE = 10_001, 4, 0.4


class Scene:
    """A clip of 2 · ``turn`` pictures, numbered from 0: the match to picture ``turn`` and back."""

    def __init__(
        self, width: int = 640, height: int = 360, rate_hz: int = 15, turn: int = 120
    ) -> None:
        if 2 * turn > 1 << BITS:
            raise ValueError(f"turn must be at most {(1 << BITS) // 2}, got {turn}")
        self.width, self.height, self.rate_hz = width, height, rate_hz
        self.length = 2 * turn
        self._match = Match(SEED, width, height, rate_hz, players=PLAYERS, occluders=0, pace=PACE)

    def truth(self, number: int) -> SceneFrame:
        """What is where on picture ``number``; its picture carries no number."""
        return self._match.render(min(number, self.length - number))

    def picture(self, number: int) -> ImageArray:
        """Picture ``number`` of the clip, RGB, with its number painted in."""
        image = self.truth(number).image
        stamp(image, number)
        return image

    def mask(
        self, number: int, object_id: int, width: int | None = None, height: int | None = None
    ) -> MaskArray:
        """The true mask of an object on picture ``number``, at the size a sender scaled it to."""
        mask = self.truth(number).masks[object_id]
        mask[: strip_height(self.height)] = False
        size = (width or self.width, height or self.height)
        return np.asarray(
            cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
        )

    def write(self, path: Path) -> Path:
        """The clip as Chromium plays it for a camera: raw 4:2:0 pictures at their own rate."""
        with path.open("wb") as file:
            file.write(
                f"YUV4MPEG2 W{self.width} H{self.height} F{self.rate_hz}:1 Ip C420\n".encode()
            )
            for number in range(self.length):
                picture = av.VideoFrame.from_ndarray(self.picture(number), format="rgb24")
                file.write(b"FRAME\n")
                file.write(picture.reformat(format="yuv420p").to_ndarray().tobytes())
        return path


def middle(mask: MaskArray) -> tuple[int, int]:
    """The pixel (x, y) of ``mask`` that is farthest from its edge: where a person would click."""
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(x), int(y)


def overlap(first: MaskArray, second: MaskArray) -> float:
    """Intersection over union; 1.0 when both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 1.0
