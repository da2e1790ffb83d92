"""A frame resized to the network's size before its step, on a thread of the caller's choice.

Dimensions: S image size.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class PreparedImage:
    """The result of ``Tracker.prepare``; ``Tracker.step`` accepts it in place of an image.

    ``pixels_13SS``: uint8, RGB, resized, on the tracker's device. Bytes, since normalised floats
    are four times as large, and an image may wait in a queue and stay in the history. ``height``
    and ``width`` are the source's; prompts and masks use its pixels.
    """

    pixels_13SS: Tensor
    height: int
    width: int

    @property
    def nbytes(self) -> int:
        """Bytes held on the device; the source is not kept."""
        return self.pixels_13SS.nbytes
