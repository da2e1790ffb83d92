"""What a suite consists of: clips with the true masks of the objects to follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracker.types import MaskArray


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """A picture (RGB uint8, H W 3) and the true mask (H, W bool) of every object followed."""

    image: npt.NDArray[np.uint8]
    truth: dict[int, MaskArray]


@dataclass(frozen=True, slots=True)
class EvaluationClip:
    """A clip to be tracked from prompts on its first frame.

    ``open`` starts reading at the first frame; every object of ``object_ids`` has pixels there.
    """

    name: str
    category: str
    object_ids: tuple[int, ...]
    frame_count: int
    open: Callable[[], Iterator[ClipFrame]]
