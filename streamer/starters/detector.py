"""What a detector is, and the check of what it returns.

A detector is any callable that takes a picture and returns the things in it:

    def detector(image):                      # RGB uint8 (height, width, 3)
        return [Detection((120, 80, 180, 240), score=0.9, label="person")]

It knows nothing of tracked objects, of other pictures or of streams; ``policy`` decides what
becomes of its detections.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from streamer.errors import StarterError
from streamer.types import Detection, ImageArray

# Bound: of one pass; policy: those with the highest scores are kept.
DETECTIONS_PER_PASS = 256
_LABEL = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}")


class Detector(Protocol):
    """Detects things in a picture. Called in a thread of its own, one picture at a time.

    An exception concerns this stream's starter only: it is reported, and the detector is tried
    again after a growing wait. ``DetectorNotReady`` is no failure: there is no result now.
    """

    def __call__(self, image: ImageArray) -> Sequence[Detection]:
        """The things in ``image``, RGB uint8 (height, width, 3), which must not be written."""


def checked(found: object, height: int, width: int) -> list[Detection]:
    """Check what a detector returned: detections cut to the picture, highest score first.

    Boxes outside the picture are left out. Raises ``StarterError`` for an invalid detection.
    """
    if isinstance(found, str | bytes) or not isinstance(found, Sequence):
        raise StarterError(
            f"a detector must return a list of Detection, got {type(found).__name__}"
        )
    inside = [
        cut
        for index, each in enumerate(found)
        if (cut := _cut(_valid(each, index), height, width)) is not None
    ]
    return sorted(inside, key=lambda each: -each.score)[:DETECTIONS_PER_PASS]


def _valid(found: object, index: int) -> Detection:
    if not isinstance(found, Detection):
        raise StarterError(f"detection {index} is {type(found).__name__}, not a Detection")
    box = found.box_xyxy
    if len(box) != 4 or not all(math.isfinite(each) and abs(each) < 1e6 for each in box):
        raise StarterError(f"detection {index}: its box must be four finite numbers, got {box}")
    if not 0 <= found.score <= 1:
        raise StarterError(f"detection {index}: its score must be 0 to 1, got {found.score}")
    if found.label is not None and not _LABEL.fullmatch(found.label):
        raise StarterError(
            f"detection {index}: its label must be 1 to 128 characters, none of them a control "
            "character"
        )
    if found.crop is not None:
        x0, y0, x1, y1 = box
        if any(each != round(each) for each in box) or found.crop.shape != (y1 - y0, x1 - x0):
            raise StarterError(
                f"detection {index}: its mask is {found.crop.shape}, its box {box}; a mask fills "
                "its box, whose numbers are whole"
            )
    return found


def _cut(found: Detection, height: int, width: int) -> Detection | None:
    x0, y0, x1, y1 = found.box_xyxy
    cut = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    if cut[2] - cut[0] < 1 or cut[3] - cut[1] < 1:
        return None
    if cut == found.box_xyxy:
        return found
    crop = found.crop
    if crop is not None:
        crop = crop[
            round(cut[1] - y0) : round(cut[3] - y0), round(cut[0] - x0) : round(cut[2] - x0)
        ]
    return replace(found, box_xyxy=cut, crop=crop)
