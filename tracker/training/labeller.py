"""A teacher's masks for pictures and clips that nobody outlined.

In a picture the teacher finds everything; whole things are kept, and what overlaps them is not. In
a clip it tracks the things of the first frame; those it is unsure of are left out of the clip.

Dimensions: H W picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from tracker.model import Sam2
from tracker.options import EngineOptions, TrackerOptions
from tracker.pictures.generator_options import GeneratorOptions
from tracker.pictures.mask_generator import MaskGenerator
from tracker.pictures.options import PictureOptions
from tracker.pictures.predictor import ImagePredictor
from tracker.tracker import Tracker
from tracker.types import MaskArray, Prompt

MOST_THINGS = 12
SEARCH = GeneratorOptions(points_per_side=16, stability_score_thresh=0.9, box_nms_thresh=0.7)
# Of the picture: a smaller mask is a speck, a larger one mostly the ground.
_SMALLEST_SHARE, _LARGEST_SHARE = 0.001, 0.5
# Of a mask, under the larger ones: more makes it a part of them.
_MOST_SHARED = 0.1
_SURE_IOU = 0.6

IndexMap = npt.NDArray[np.uint8]


class Labeller:
    """Labels with one model, on one device. Call it from one thread."""

    def __init__(
        self,
        model: Sam2,
        device: torch.device,
        image_size: int | None = None,
    ) -> None:
        """``image_size``: side of the teacher's pictures; None: its own."""
        options = TrackerOptions(
            max_objects=MOST_THINGS, engine=EngineOptions(image_size=image_size)
        )
        self._tracker = Tracker(model, device, options)
        predictor = ImagePredictor(model, device, PictureOptions(image_size=image_size))
        self._generator = MaskGenerator(predictor, SEARCH)
        self.fingerprint = self._tracker.identity.fingerprint

    def things(self, picture: npt.NDArray[np.uint8]) -> list[MaskArray]:
        """Masks (H, W) of at most ``MOST_THINGS`` things, the largest first."""
        pixels = picture.shape[0] * picture.shape[1]
        taken = np.zeros(picture.shape[:2], dtype=np.bool_)
        kept: list[MaskArray] = []
        found = self._generator.segments(picture)
        for segment in sorted(found, key=lambda each: -each.area):
            if not _SMALLEST_SHARE * pixels <= segment.area <= _LARGEST_SHARE * pixels:
                continue
            mask = segment.mask
            if np.count_nonzero(mask & taken) > _MOST_SHARED * segment.area:
                continue
            kept.append(mask & ~taken)
            taken |= mask
            if len(kept) == MOST_THINGS:
                break
        return kept

    def maps(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[IndexMap]:
        """The things of a clip's first picture on all of them: (H, W), 0 is none; [] without any.

        One picture is a clip too.
        """
        masks = self.things(pictures[0])
        if not masks:
            return []
        maps = [_painted(dict(enumerate(masks, 1)), masks[0].shape)]
        if len(pictures) == 1:
            return maps
        session = self._tracker.open_session()
        prompts = [Prompt(number, mask=mask) for number, mask in enumerate(masks, 1)]
        claims: dict[int, list[float]] = {prompt.object_id: [] for prompt in prompts}
        try:
            self._tracker.step([(session, pictures[0], prompts)])
            for picture in pictures[1:]:
                (tracks,) = self._tracker.step([(session, picture, [])])
                maps.append(_painted({each.object_id: each.mask for each in tracks}, maps[0].shape))
                for each in tracks:
                    if each.area:
                        claims[each.object_id].append(each.predicted_iou)
        finally:
            session.close()
        unsure = [key for key, ious in claims.items() if ious and np.mean(ious) < _SURE_IOU]
        for each_map in maps:
            each_map[np.isin(each_map, unsure)] = 0
        return maps if maps[0].any() else []


def _painted(masks: dict[int, MaskArray], shape: tuple[int, ...]) -> IndexMap:
    result = np.zeros(shape, dtype=np.uint8)
    for number, mask in masks.items():
        result[mask] = number
    return result
