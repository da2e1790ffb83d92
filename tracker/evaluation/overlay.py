"""Pictures with tracked masks over the ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.file_names import file_stem
from tracker.evaluation.measures import boundary
from tracker.types import MaskArray

_COLOURS = (
    (255, 64, 64),
    (64, 160, 255),
    (255, 208, 32),
    (96, 224, 96),
    (224, 96, 255),
    (255, 144, 32),
    (64, 232, 232),
    (255, 128, 176),
)


class OverlayWriter:
    """Writes every ``every``-th frame of each clip as DIRECTORY/CATEGORY,CLIP/00000.png."""

    def __init__(self, directory: Path, every: int = 5) -> None:
        self._directory, self._every = directory, every

    def __call__(
        self, clip: EvaluationClip, index: int, frame: ClipFrame, masks: dict[int, MaskArray]
    ) -> None:
        if index % self._every:
            return
        target = self._directory / file_stem(clip.category, clip.name) / f"{index:05d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(overlay(frame, masks)).save(target)


def overlay(frame: ClipFrame, masks: dict[int, MaskArray]) -> npt.NDArray[np.uint8]:
    """The picture with tracked masks tinted and true contours in white, (H, W, 3) uint8."""
    picture = frame.image.astype(np.float32)
    for place, (object_id, mask) in enumerate(masks.items()):
        tint = np.array(colour_of(place), dtype=np.float32)
        picture[mask] = 0.45 * picture[mask] + 0.55 * tint
        if object_id in frame.truth:
            picture[boundary(frame.truth[object_id])] = 255.0
    return picture.astype(np.uint8)


def colour_of(place: int) -> tuple[int, int, int]:
    """The RGB colour of the n-th tracked object."""
    return _COLOURS[place % len(_COLOURS)]
