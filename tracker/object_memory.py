"""What one object is remembered by, outside of a tracker: to go on with it after a restart.

Dimensions: F conditioning memories, L grid tokens, c memory width, C hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which network made a memory: memories are of no use to another.

    ``fingerprint`` is of the weights (see ``checkpoint.fingerprint``).
    """

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ObjectMemory:
    """An object's conditioning memories: the frames on which somebody pointed at it.

    Recent memories are not part of it: they say where the object was a moment ago, which is
    over. ``age_F`` counts frames before the next one, from 1. Values are as the tracker holds
    them; float32 keeps bfloat16 exactly.
    """

    model: ModelIdentity
    age_F: npt.NDArray[np.int64]
    spatial_FLc: npt.NDArray[np.float32]
    pointer_FC: npt.NDArray[np.float32]
