"""A frame brought to the network's size ahead of its step, on a thread of the caller's choice.

Dimensions: S image size.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)  # each is itself
class PreparedImage:
    """What ``Tracker.prepare`` makes of an image and ``Tracker.step`` takes in its place.

    ``pixels_13SS``: uint8, RGB, resized, on the tracker's device. Bytes rather than normalised
    floats, which are four times as large: an image may wait in a queue, and stays in the history
    to be encoded from again; the network's first kernel reads either. ``height`` and ``width``
    are the source's, in which prompts and masks are given.
    """

    pixels_13SS: Tensor
    height: int
    width: int

    @property
    def nbytes(self) -> int:
        """What it keeps alive on the device; nothing of the source."""
        return self.pixels_13SS.nbytes
