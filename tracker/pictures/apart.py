"""Things of one picture kept apart: each pixel belongs to one of them.

Dimensions: H W picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracker.types import MaskArray


class Owners:
    """Of the objects whose masks hold a pixel, the one with the highest logit owns it.

    Objects are added one by one: memory is a picture's, however many there are.
    """

    def __init__(self, height: int, width: int) -> None:
        self._highest_HW = np.zeros((height, width), np.float32)
        self._owner_HW = np.full((height, width), -1, np.int32)
        self._count = 0

    def add(self, logits_HW: npt.NDArray[np.float32]) -> None:
        """The next object's mask logits; a pixel of its mask is above 0."""
        owned_HW = logits_HW > self._highest_HW
        self._highest_HW[owned_HW] = logits_HW[owned_HW]
        self._owner_HW[owned_HW] = self._count
        self._count += 1

    def mask(self, place: int) -> MaskArray:
        """What the object that was added as number ``place``, from 0, owns."""
        owned_HW: MaskArray = self._owner_HW == place
        return owned_HW
