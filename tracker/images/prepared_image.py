"""A frame resized to the network's size before its step, on a thread of the caller's choice.

Dimensions: S image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracker.images.yuv import YuvPicture


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class PreparedImage:
    """The result of ``Tracker.prepare``; ``Tracker.step`` accepts it in place of an image.

    ``pixels_13SS``: uint8, RGB, resized, on the tracker's device. Bytes, since normalised floats
    are four times as large, and an image may wait in a queue and stay in the history. ``height``
    and ``width`` are the source's; prompts and masks use its pixels. ``source``: the picture
    itself, where the tracker may look closer at a part of it.
    """

    pixels_13SS: Tensor
    height: int
    width: int
    source: npt.NDArray[np.uint8] | YuvPicture | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held on the device, and those of the source."""
        return self.pixels_13SS.nbytes + (0 if self.source is None else self.source.nbytes)
