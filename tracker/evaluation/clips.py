"""What a suite consists of: clips with the truth about the objects to follow."""

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
    """A picture (RGB uint8, H W 3) and what is true on it.

    ``truth`` holds the mask (H, W bool) of every object annotated with a mask on this frame, an
    empty one where it is out of sight; ``boxes`` the box of every object annotated with a box,
    None where it is out of sight. An object in neither is not annotated here and not scored.
    ``others`` are true masks of things that are not followed: what a mask may jump to.
    ``prompt_boxes``: if given, objects start with these boxes instead of the truth.
    ``missed`` frames of the source were lost between the frame before and this one.
    """

    image: npt.NDArray[np.uint8]
    truth: dict[int, MaskArray]
    boxes: dict[int, BoxXyxy | None] = field(default_factory=dict)
    others: dict[int, MaskArray] = field(default_factory=dict)
    prompt_boxes: dict[int, BoxXyxy] | None = None
    missed: int = 0


@dataclass(frozen=True, slots=True)
class EvaluationClip:
    """A clip to be tracked from a prompt on the first frame that shows each object.

    ``open`` starts reading at the first frame. ``rate_hz`` says how fast the frames followed one
    another in the world; real-time evaluation needs it. ``annotation``: masks, or boxes only.
    ``clicked_every``: on each so many-th frame every object in sight is clicked again (0: never).
    """

    name: str
    category: str
    object_ids: tuple[int, ...]
    frame_count: int
    open: Callable[[], Iterator[ClipFrame]]
    rate_hz: float = 25.0
    annotation: Literal["masks", "boxes"] = "masks"
    clicked_every: int = 0
