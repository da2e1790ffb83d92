"""Converts low-resolution logits to tracks at source resolution.

Dimensions: n objects of one frame, N objects of all frames, h w mask grid, H W source size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.host_arrays import HostBuffers, Transfer, begin_transfer
from tracker.images.transforms import resize_logits
from tracker.masks.bits import cut_bits, pack_bits
from tracker.masks.masks import boxes_of, without_overlap
from tracker.masks.positive_region import MaskRegion, positive_region
from tracker.options import TrackerOptions
from tracker.types import MaskArray, Track, TrackState
from tracker.weights.calibration import ScoreCalibration


@dataclass(frozen=True, slots=True)
class FrameMasks:
    """The masks of one frame's objects, still on the device.

    ``regions``: for each object a part of the frame outside which its mask is empty.
    ``box_n4`` (half-open) and ``area_n``, both int64, refer to the whole frame.
    """

    object_ids: list[int]
    logits_n1hw: Tensor
    height: int
    width: int
    regions: list[MaskRegion]
    box_n4: Tensor
    area_n: Tensor

    @property
    def whole_masks(self) -> Tensor:
        """The masks, boolean (n, H, W); only where each region is the whole frame."""
        return torch.stack([region.mask_rr for region in self.regions])

    @staticmethod
    def at_source_size(
        object_ids: list[int],
        logits_n1hw: Tensor,
        before: dict[int, Tensor],
        height: int,
        width: int,
        options: TrackerOptions,
    ) -> FrameMasks:
        """Upsample. ``before``: the frame's previous logits by object, for ``non_overlap``."""
        if logits_n1hw.device.type == "cpu" and not options.non_overlap:
            regions = [positive_region(logits[0], height, width) for logits in logits_n1hw]
            return FrameMasks(
                object_ids,
                logits_n1hw,
                height,
                width,
                regions,
                torch.cat([region.box_14() for region in regions]),
                torch.tensor([region.area() for region in regions]),
            )
        if options.non_overlap:
            # In the frame's order, so that a tie goes to the same object in every correction.
            all_logits = before | dict(zip(object_ids, logits_n1hw.unbind(), strict=True))
            shown = torch.stack(list(all_logits.values()))
            owned = dict(
                zip(all_logits, without_overlap(resize_logits(shown, height, width)), strict=True)
            )
            full = torch.stack([owned[object_id] for object_id in object_ids])
        else:
            full = resize_logits(logits_n1hw, height, width)
        mask_nHW = full[:, 0] > 0
        return FrameMasks(
            object_ids,
            logits_n1hw,
            height,
            width,
            [MaskRegion(0, 0, mask_HW) for mask_HW in mask_nHW],
            boxes_of(mask_nHW),
            mask_nHW.flatten(1).sum(dim=1),
        )


class Delivery:
    """Masks and numbers in transfer to the host, and their conversion to tracks."""

    def __init__(
        self,
        frames: Sequence[FrameMasks],
        transfer: Transfer,
        numbers: int,
        calibration: ScoreCalibration | None,
        *,
        packed: bool,
        logits: bool,
    ) -> None:
        """``numbers``: how many of a row's numbers belong to its track; the rest is ``beside``."""
        self._frames = [(frame.object_ids, frame.height, frame.width) for frame in frames]
        # Packed masks need not stay on the device.
        self._regions = [] if packed else [region for frame in frames for region in frame.regions]
        self._transfer = transfer
        self._numbers = numbers
        self._calibration = calibration
        self._packed = packed
        self._logits = logits
        self._beside_NE: npt.NDArray[np.float64] | None = None

    def numbers_beside(self) -> npt.NDArray[np.float64]:
        """``beside_NE`` as passed to ``deliver``; waits for the device."""
        if self._beside_NE is None:
            self._beside_NE = self._transfer.arrays()[0][:, self._numbers :].astype(np.float64)
        return self._beside_NE

    def tracks(self) -> list[list[Track]]:
        """The tracks by frame; waits for the device. Call it once."""
        try:
            self.numbers_beside()
            return self._unpacked()
        finally:
            self._transfer.release()

    def _unpacked(self) -> list[list[Track]]:
        host_NX, *arrays = self._transfer.arrays()
        bits = arrays[: len(self._frames)] if self._packed else []
        host_logits = arrays[len(bits) :]
        host_numbers = host_NX[:, : self._numbers].tolist()
        calibrated = (
            [None] * len(host_numbers)
            if self._calibration is None
            else self._calibration([row[5] for row in host_numbers]).tolist()
        )
        boxes = [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1, *_ in host_numbers]
        crops = (
            [cut_bits(*each) for each in zip(chain.from_iterable(bits), boxes, strict=True)]
            if self._packed
            else _crops(self._regions, boxes)
        )
        rows = iter(zip(boxes, crops, calibrated, host_numbers, strict=True))
        tracks_by_frame = []
        for index, (object_ids, height, width) in enumerate(self._frames):
            logits = host_logits[index] if self._logits else None
            tracks = []
            for place, object_id in enumerate(object_ids):
                box, crop, expected_iou, row = next(rows)
                area, predicted_iou, object_score, visible, similarity = row[4:9]
                tracks.append(
                    Track(
                        object_id=object_id,
                        state=TrackState.VISIBLE if visible and area else TrackState.OCCLUDED,
                        box_xyxy=box,
                        crop=crop,
                        area=int(area),
                        predicted_iou=predicted_iou,
                        object_score=object_score,
                        frame_height=height,
                        frame_width=width,
                        calibrated_iou=expected_iou,
                        pointer_similarity=None if math.isnan(similarity) else similarity,
                        predicted_box_xyxy=_in_pixels(row[9:13], height, width),
                        logits=None if logits is None else logits[place].copy(),
                    )
                )
            tracks_by_frame.append(tracks)
        return tracks_by_frame


def deliver(
    frames: Sequence[FrameMasks],
    predicted_iou_N: Tensor,
    object_score_logit_N: Tensor,
    options: TrackerOptions,
    pointer_similarity_N: Tensor | None = None,
    calibration: ScoreCalibration | None = None,
    predicted_box_N4: Tensor | None = None,
    beside_NE: Tensor | None = None,
    buffers: HostBuffers | None = None,
) -> Delivery:
    """Start one transfer of frames to the host, masks cut to boxes; the host does not wait.

    ``pointer_similarity_N`` is NaN for an object without conditioning pointers,
    ``predicted_box_N4``, in shares of the frame, for one without a predicted box. ``beside_NE``:
    further numbers to transfer. ``buffers``: where they arrive; None on a processor. An object is
    visible if its occlusion logit is positive and a pixel is set.
    """
    if pointer_similarity_N is None:
        pointer_similarity_N = torch.full_like(predicted_iou_N, math.nan)
    count = len(predicted_iou_N)
    if predicted_box_N4 is None:
        predicted_box_N4 = predicted_iou_N.new_full((count, 4), math.nan)
    if beside_NE is None:
        beside_NE = predicted_iou_N.new_empty((count, 0))
    numbers = torch.cat(
        (
            torch.cat([frame.box_n4 for frame in frames]).double(),
            torch.cat([frame.area_n for frame in frames]).double()[:, None],
            predicted_iou_N.double()[:, None],
            object_score_logit_N.sigmoid().double()[:, None],
            (object_score_logit_N > 0).double()[:, None],
            pointer_similarity_N.double()[:, None],
            predicted_box_N4.double(),
            beside_NE.double(),
        ),
        dim=1,
    )
    packs = buffers is not None  # on a processor only the masks' boxes are read
    packed = [pack_bits(frame.whole_masks) for frame in frames] if packs else []
    shown = [frame.logits_n1hw[:, 0] for frame in frames] if options.return_logits else []
    return Delivery(
        frames,
        begin_transfer([numbers, *packed, *shown], buffers),
        numbers.shape[1] - beside_NE.shape[1],
        calibration,
        packed=packs,
        logits=options.return_logits,
    )


def _in_pixels(
    box: Sequence[float], height: int, width: int
) -> tuple[float, float, float, float] | None:
    x0, y0, x1, y1 = box
    return None if math.isnan(x0) else (x0 * width, y0 * height, x1 * width, y1 * height)


def _crops(regions: list[MaskRegion], boxes: list[tuple[int, int, int, int]]) -> list[MaskArray]:
    """Each mask inside its box, copied, so that a track keeps no other mask alive."""
    return [region.cut(box).numpy().copy() for region, box in zip(regions, boxes, strict=True)]
