"""The clips of a suite, with the ground truth of the objects to track."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from tracker.types import MaskArray

Split = Literal["tuning", "reported"]
"""Seeds that choices are made with, and seeds that are published."""
BoxXyxy = tuple[float, float, float, float]
"""Half-open, in pixels."""


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """A picture (RGB uint8, H W 3) and its ground truth.

    ``truth``: the mask (H, W bool) of every object annotated with a mask on this frame, empty if it
    is out of sight. ``boxes``: the box of every object annotated with a box, None if it is out of
    sight. An object in neither is not annotated here and not scored.
    ``others``: true masks of objects that are not tracked, to which a mask may switch.
    ``prompt_boxes``: if given, objects start with these boxes instead of the truth.
    ``missed``: frames of the source lost between the previous frame and this one.
    """

    image: npt.NDArray[np.uint8]
    truth: dict[int, MaskArray]
    boxes: dict[int, BoxXyxy | None] = field(default_factory=dict)
    others: dict[int, MaskArray] = field(default_factory=dict)
    prompt_boxes: dict[int, BoxXyxy] | None = None
    missed: int = 0

    def shows(self, object_id: int) -> bool:
        """Whether an object is annotated as visible."""
        if object_id in self.truth:
            return bool(self.truth[object_id].any())
        return self.boxes.get(object_id) is not None


@dataclass(frozen=True, slots=True)
class EvaluationClip:
    """A clip to be tracked from a prompt on the first frame that shows each object.

    ``open`` starts reading at the first frame. ``rate_hz``: the rate of the recording, needed for
    real-time evaluation. ``annotation``: masks, or boxes only. ``clicked_every``: every visible
    object is clicked again every N frames (0: never). ``still``: a photograph: its only
    frame, that of the prompts, is scored.
    """

    name: str
    category: str
    object_ids: tuple[int, ...]
    frame_count: int
    open: Callable[[], Iterator[ClipFrame]]
    rate_hz: float = 25.0
    annotation: Literal["masks", "boxes"] = "masks"
    clicked_every: int = 0
    still: bool = False
