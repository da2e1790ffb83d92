"""One object's memories outside of a tracker, to continue tracking it after a restart.

Dimensions: F conditioning memories, L grid tokens, c memory width, C hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracker.errors import ObjectMemoryError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The network that computed a memory; another network cannot use it.

    ``fingerprint``: of the weights (see ``tracker.weights.checkpoint.fingerprint``).
    """

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ObjectMemory:
    """An object's conditioning memories: those of its prompted frames.

    Recent memories are left out: they hold the object's last position, which is out of date after
    a restart. ``age_F``: frames back from the next one, from 1. Values are the tracker's; float32
    represents bfloat16 exactly.
    """

    model: ModelIdentity
    age_F: npt.NDArray[np.int64]
    spatial_FLc: npt.NDArray[np.float32]
    pointer_FC: npt.NDArray[np.float32]


def ensure_usable(
    object_id: int,
    memory: ObjectMemory,
    model: ModelIdentity,
    shapes: Callable[[int], tuple[Shape, Shape]],
) -> None:
    """Raise ObjectMemoryError for a memory that a tracker with this model cannot use.

    ``shapes``: number of memories -> shapes of ``spatial_FLc`` and ``pointer_FC``
    (``MemoryBank.conditioning_shapes``).
    """
    if memory.model != model:
        raise ObjectMemoryError(
            f"object {object_id} was remembered by {memory.model.name} "
            f"({memory.model.fingerprint[:12]}), this is {model.name} ({model.fingerprint[:12]})"
        )
    damaged = f"the memory of object {object_id} is damaged:"
    ages = memory.age_F
    if ages.ndim != 1 or ages.dtype != np.int64 or (ages < 1).any() or (ages > 1 << 48).any():
        raise ObjectMemoryError(f"{damaged} ages are whole frames from 1 on")
    try:
        spatial, pointer = shapes(len(ages))
    except ValueError as error:
        raise ObjectMemoryError(f"{damaged} {error}") from error
    theirs, own = _image_size(memory.spatial_FLc.shape), _image_size(spatial)
    if theirs not in (None, own) and memory.spatial_FLc.shape[::2] == spatial[::2]:
        raise ObjectMemoryError(
            f"object {object_id} was remembered in images of {theirs} x {theirs} pixels, this "
            f"tracker takes {own} x {own}; use one of image size {theirs}"
        )
    for array, shape in ((memory.spatial_FLc, spatial), (memory.pointer_FC, pointer)):
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise ObjectMemoryError(
                f"{damaged} expected finite float32 {shape}, got {array.dtype} {array.shape}"
            )


def _image_size(shape_FLc: Shape) -> int | None:
    """The image size of memories of this shape; None if no image size gives it."""
    side = math.isqrt(shape_FLc[1]) if len(shape_FLc) == 3 else 0
    return side * 16 if side and side**2 == shape_FLc[1] else None
