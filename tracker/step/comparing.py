"""Compares new frames with those before them, for the robust policy.

Dimensions: B images, S image size, T thumbnail side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tracker.engine.engine import Engine
from tracker.images.scene_change import SIDE
from tracker.memory.frame_columns import BoolArray
from tracker.policy.robust import RobustPolicy


class Compared(NamedTuple):
    """What changed on new frames, where ``known_B`` is set; see ``RobustPolicy.compare_frames``."""

    known_B: BoolArray
    thumbnail_B3TT: Tensor
    scene_B3: Tensor


def compared(
    engine: Engine, policy: RobustPolicy, pixels_B3SS: Tensor, before: Sequence[Tensor | None]
) -> Compared | None:
    """What changed since the thumbnails ``before``; None if no rule of the policy asks for it."""
    if not policy.compares_frames:
        return None
    known_B = np.array([each is not None for each in before])
    nothing = torch.zeros(1, 3, SIDE, SIDE, device=pixels_B3SS.device)
    before_B3TT = engine.calls.table(
        "thumbnails before", [nothing if each is None else each for each in before]
    )
    arrays = engine.all_rows(len(before)), known_B
    tables = pixels_B3SS, before_B3TT
    found = engine.over_images("compare", policy.compare_frames, len(before), arrays, tables)
    return Compared(known_B, *found)
