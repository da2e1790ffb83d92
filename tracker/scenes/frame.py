"""One picture of a scene with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ImageArray = npt.NDArray[np.uint8]
MaskArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """A rendered picture with the visible pixels of every object of the scene.

    ``image`` is RGB uint8, (height, width, 3), contiguous. Every dictionary is keyed by object
    id and holds all objects of the scene on every frame. ``masks`` are (height, width) bool and
    do not overlap; ``boxes`` are half-open (x0, y0, x1, y1) around the visible pixels, zeros
    when there are none. ``visible_fraction`` is the share of the object's silhouette that is
    seen, 1.0 when nothing hides or cuts it.
    """

    image: ImageArray
    masks: dict[int, MaskArray]
    boxes: dict[int, tuple[int, int, int, int]]
    labels: dict[int, str]
    visible: dict[int, bool]
    visible_fraction: dict[int, float]


def mask_box(mask: MaskArray) -> tuple[int, int, int, int]:
    """The half-open box around the set pixels of ``mask`` (H, W); zeros when it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return 0, 0, 0, 0
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[y0:y1].any(axis=0))
    return int(columns[0]), y0, int(columns[-1]) + 1, y1
