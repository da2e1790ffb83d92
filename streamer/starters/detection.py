"""What a starter is, and what it finds.

A starter is anything that can be called with a picture and says where things are in it:

    def starter(image):                       # RGB uint8 (height, width, 3)
        return [Detection((120, 80, 180, 240), score=0.9, label="person")]

It knows nothing of objects that are followed already, of other pictures or of streams; what
becomes of its finds is ``policy``'s business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamer.errors import StarterError

ImageArray = npt.NDArray[np.uint8]
MaskArray = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]

# Bound: of one look; policy: the surest are kept.
DETECTIONS_PER_LOOK = 256
_LABEL = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}")


@dataclass(frozen=True, slots=True, eq=False)  # each is itself; masks do not compare to a bool
class Detection:
    """One thing in a picture.

    ``box_xyxy`` is half-open, in pixels of the picture. ``score`` is 0..1. ``crop`` is the
    boolean mask inside the box, whose numbers are whole then: (y1 - y0, x1 - x0).
    """

    box_xyxy: Box
    score: float = 1.0
    label: str | None = None
    crop: MaskArray | None = None

    @property
    def area(self) -> float:
        """Pixels of the mask, without one of the box."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x1 - x0) * (y1 - y0) if self.crop is None else float(self.crop.sum())

    def mask(self, height: int, width: int) -> MaskArray:
        """The mask on the whole picture, (height, width) bool; it has one."""
        assert self.crop is not None, "a detection without a mask"
        x0, y0, x1, y1 = (round(each) for each in self.box_xyxy)
        full = np.zeros((height, width), dtype=np.bool_)
        full[y0:y1, x0:x1] = self.crop
        return full


class Starter(Protocol):
    """Finds things in a picture. Called in a thread of its own, one picture at a time.

    What it raises is this stream's starter's trouble only: it is reported and, after a wait that
    grows, tried again. ``StandsStillError`` is no failure: it cannot tell now, and says why.
    """

    def __call__(self, image: ImageArray) -> Sequence[Detection]:
        """The things in ``image``, RGB uint8 (height, width, 3), which must not be written."""


def checked(found: object, height: int, width: int) -> list[Detection]:
    """What a starter returned, cut to the picture, surest first.

    Boxes that lie outside of the picture are left out. Raises ``StarterError`` for what is no
    detection.
    """
    if isinstance(found, str | bytes) or not isinstance(found, Sequence):
        raise StarterError(f"a starter must return a list of Detection, got {type(found).__name__}")
    inside = [
        cut
        for index, each in enumerate(found)
        if (cut := _cut(_valid(each, index), height, width)) is not None
    ]
    return sorted(inside, key=lambda each: -each.score)[:DETECTIONS_PER_LOOK]


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
