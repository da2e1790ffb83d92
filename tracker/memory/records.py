"""Records of the robust policy, kept beside the memories.

Dimensions: N objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracker.memory.bank import SlotCopy
from tracker.memory.frame_columns import BoolArray

Facts = npt.NDArray[np.void]


class Selection(NamedTuple):
    """Where one frame of each of N objects goes.

    ``conditioning_N``: kept for ever, it was prompted. ``recent_N``: among the recent frames.
    ``pointer_N``: its pointer. ``anchor_N``: as an anchor.
    """

    conditioning_N: BoolArray
    recent_N: BoolArray
    pointer_N: BoolArray
    anchor_N: BoolArray


class Before(NamedTuple):
    """The state of an object before a frame: facts on the host, motion on the device."""

    facts: Facts
    motion_45: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.facts.nbytes + self.motion_45.nbytes


@dataclass(frozen=True, slots=True)
class RobustSlotCopy(SlotCopy):
    """A copy of one slot of a robust bank."""

    facts: Facts
    motion_45: Tensor
