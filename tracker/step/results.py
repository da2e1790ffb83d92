"""Converts low-resolution logits to tracks at source resolution.

Dimensions: n objects of one frame, N objects of all frames, h w mask grid, H W source size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.host_arrays import HostBuffers, Transfer, begin_transfer
from tracker.images.transforms import resize_logits
from tracker.masks.bits import cut_bits, pack_bits
from tracker.masks.masks import boxes_of, without_overlap
from tracker.masks.packing import boxes_and_areas, masks_of, pack_masks
from tracker.masks.positive_region import MaskRegion, positive_region
from tracker.options import TrackerOptions
from tracker.types import MaskArray, Track, TrackState
from tracker.weights.calibration import ScoreCalibration

# How many of a row's numbers belong to its track.
NUMBERS = 8


@dataclass(frozen=True, slots=True)
class FrameMasks:
    """The masks of one frame's objects, still on the device.

    ``regions``: for each object a part of the frame outside which its mask is empty.
    ``measures_n5``: half-open box and area, int64, in the whole frame. Both are missing where masks
    are upsampled and packed by one kernel.
    """

    object_ids: list[int]
    logits_n1hw: Tensor
    height: int
    width: int
    regions: list[MaskRegion]
    measures_n5: Tensor | None

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
        if packs_at_once(logits_n1hw.device, options):
            return FrameMasks(object_ids, logits_n1hw, height, width, [], None)
        if logits_n1hw.device.type == "cpu" and not options.non_overlap:
            regions = [positive_region(logits[0], height, width) for logits in logits_n1hw]
            return FrameMasks(
                object_ids,
                logits_n1hw,
                height,
                width,
                regions,
                _measures(
                    torch.cat([region.box_14() for region in regions]),
                    torch.tensor([region.area() for region in regions]),
                ),
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
            _measures(boxes_of(mask_nHW), mask_nHW.flatten(1).sum(dim=1)),
        )


class Delivery:
    """Masks and numbers in transfer to the host, and their conversion to tracks."""

    def __init__(
        self,
        frames: Sequence[FrameMasks],
        transfer: Transfer,
        calibration: ScoreCalibration | None,
        *,
        packed: bool,
        logits: bool,
    ) -> None:
        """``packed``: masks arrive as bits."""
        self._frames = [(frame.object_ids, frame.height, frame.width) for frame in frames]
        # Packed masks need not stay on the device.
        self._regions = [] if packed else [region for frame in frames for region in frame.regions]
        self._transfer = transfer
        self._calibration = calibration
        self._packed = packed
        self._at_once = frames[0].measures_n5 is None
        self._logits = logits
        self._beside_NE: npt.NDArray[np.float64] | None = None

    def numbers_beside(self) -> npt.NDArray[np.float64]:
        """The numbers beyond those of the tracks, (N, E); waits for the device."""
        if self._beside_NE is None:
            self._beside_NE = self._transfer.arrays()[0][:, NUMBERS:].astype(np.float64)
        return self._beside_NE

    def tracks(self) -> list[list[Track]]:
        """The tracks by frame; waits for the device. Call it once."""
        try:
            self.numbers_beside()
            return self._unpacked()
        finally:
            self._transfer.release()

    def _unpacked(self) -> list[list[Track]]:
        host_NX, measures_N5, *arrays = cast("list[npt.NDArray[Any]]", self._transfer.arrays())
        sizes = [(height, width) for ids, height, width in self._frames for _ in ids]
        if self._at_once:
            measures_N5 = boxes_and_areas(measures_N5, *zip(*sizes, strict=True))
        host_logits = arrays[self._packed :]
        host_numbers = host_NX[:, :NUMBERS].tolist()
        calibrated = (
            [None] * len(host_numbers)
            if self._calibration is None
            else self._calibration([row[0] for row in host_numbers]).tolist()
        )
        measures = measures_N5.tolist()
        boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1, _ in measures]
        if self._packed:
            masks = masks_of(arrays[0], sizes)
            crops = [cut_bits(*each) for each in zip(masks, boxes, strict=True)]
        else:
            crops = _crops(self._regions, boxes)
        rows = iter(zip(measures, crops, calibrated, host_numbers, strict=True))
        tracks_by_frame = []
        for index, (object_ids, height, width) in enumerate(self._frames):
            logits = host_logits[index] if self._logits else None
            tracks = []
            for place, object_id in enumerate(object_ids):
                (*box, area), crop, expected_iou, row = next(rows)
                predicted_iou, object_score, visible, similarity = row[:4]
                tracks.append(
                    Track(
                        object_id=object_id,
                        state=TrackState.VISIBLE if visible and area else TrackState.OCCLUDED,
                        box_xyxy=tuple(box),
                        crop=crop,
                        area=area,
                        predicted_iou=predicted_iou,
                        object_score=object_score,
                        frame_height=height,
                        frame_width=width,
                        calibrated_iou=expected_iou,
                        pointer_similarity=None if math.isnan(similarity) else similarity,
                        predicted_box_xyxy=_in_pixels(row[4:], height, width),
                        logits=None if logits is None else logits[place].copy(),
                    )
                )
            tracks_by_frame.append(tracks)
        return tracks_by_frame


def deliver(
    frames: Sequence[FrameMasks],
    numbers_NX: Tensor,
    places_N3: Tensor | None,
    options: TrackerOptions,
    calibration: ScoreCalibration | None = None,
    buffers: HostBuffers | None = None,
) -> Delivery:
    """Start one transfer of frames to the host, masks cut to boxes; the host does not wait.

    ``numbers_NX``, ``places_N3``: see ``finishing.Finished``; of the former, the first ``NUMBERS``
    belong to the tracks.
    ``buffers``: where they arrive; None on a processor. An object is visible if its occlusion logit
    is positive and a pixel is set.
    """
    packs = buffers is not None  # on a processor only the masks' boxes are read
    arrays: list[Tensor]
    if places_N3 is not None:
        sizes = [(frame.height, frame.width) for frame in frames for _ in frame.object_ids]
        logits = [frame.logits_n1hw for frame in frames]
        logits_N1hw = logits[0] if len(logits) == 1 else torch.cat(logits)
        bits, measures_N5 = pack_masks(logits_N1hw, places_N3, *zip(*sizes, strict=True))
        arrays = [numbers_NX, measures_N5, bits]
    else:
        measures = [frame.measures_n5 for frame in frames if frame.measures_n5 is not None]
        arrays = [numbers_NX, torch.cat(measures)]
        if packs:
            packed = [pack_bits(frame.whole_masks).flatten() for frame in frames]
            arrays.append(torch.cat(packed))
    if options.return_logits:
        arrays += [frame.logits_n1hw[:, 0] for frame in frames]
    return Delivery(
        frames,
        begin_transfer(arrays, buffers),
        calibration,
        packed=packs,
        logits=options.return_logits,
    )


def packs_at_once(device: torch.device, options: TrackerOptions) -> bool:
    """Whether masks are upsampled and packed by one kernel: each then needs to know no other."""
    return device.type == "cuda" and not options.non_overlap


def _measures(box_n4: Tensor, area_n: Tensor) -> Tensor:
    return torch.cat((box_n4, area_n[:, None]), dim=1)


def _in_pixels(
    box: Sequence[float], height: int, width: int
) -> tuple[float, float, float, float] | None:
    x0, y0, x1, y1 = box
    return None if math.isnan(x0) else (x0 * width, y0 * height, x1 * width, y1 * height)


def _crops(regions: list[MaskRegion], boxes: list[tuple[int, int, int, int]]) -> list[MaskArray]:
    """Each mask inside its box, copied, so that a track keeps no other mask alive."""
    return [region.cut(box).numpy().copy() for region, box in zip(regions, boxes, strict=True)]
