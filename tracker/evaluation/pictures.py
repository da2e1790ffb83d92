"""Photographs, asked as pictures: by what ``ImagePredictor`` makes of a click or a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tracker.pictures.apart import Owners
from tracker.pictures.predictor import ImagePredictor
from tracker.tracker import Tracker
from tracker.types import MaskArray, Prompt, Track


class PicturesOfTracker:
    """The part of a tracker that the runner uses, for clips of one frame.

    The network and the calibration are a tracker's, the masks those of single pictures: a closer
    look keeps its own resolution, where a stream has the grid of the whole picture.
    """

    def __init__(self, tracker: Tracker, *, apart: bool = False) -> None:
        """``apart``: each pixel belongs to one thing of its picture (``Owners``)."""
        self._tracker = tracker
        self._apart = apart
        self._network = ImagePredictor(tracker.model(), tracker.device)

    def open_session(self) -> Any:
        """Nothing is kept from one picture to the next."""
        return _Nothing()

    def step(
        self, batch: Sequence[tuple[Any, npt.NDArray[np.uint8], Sequence[Prompt]]]
    ) -> list[list[Track]]:
        """The best mask of every prompt on every given picture."""
        found = []
        for _, image, prompts in batch:
            self._network.set_image(image)
            masks, ious = zip(*map(self._asked, prompts), strict=True) if prompts else ((), ())
            if self._apart:
                owners = Owners(*image.shape[:2])
                for logits_HW in masks:
                    owners.add(logits_HW)
                masks = tuple(map(owners.mask, range(len(masks))))
            found.append(list(map(self._track, prompts, masks, ious)))
        return found

    def _asked(self, prompt: Prompt) -> tuple[npt.NDArray[Any], float]:
        """The best mask, or to keep it apart its logits, and its predicted IoU."""
        masks = self._network.predict(
            points_xy=prompt.points_xy or None,
            point_labels=prompt.point_labels or None,
            box_xyxy=prompt.box_xyxy,
            multimask=prompt.box_xyxy is None and len(prompt.points_xy) == 1,
            logits=self._apart,
        )
        best = int(masks.predicted_iou.argmax())
        return masks.masks[best], float(masks.predicted_iou[best])

    def _track(self, prompt: Prompt, mask: MaskArray, iou: float) -> Track:
        calibration = self._tracker.calibration
        calibrated = None if calibration is None else float(calibration([iou])[0])
        return Track.of_mask(prompt.object_id, mask, iou, calibrated)


class _Nothing:
    def close(self) -> None:
        """There is nothing to release."""
