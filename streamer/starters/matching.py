"""Matches detections with tracked objects, so that nothing is started twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamer.starters.geometry import areas, boxes_of, intersections, ious
from streamer.types import Detection
from tracker.types import MaskArray

# Two detections with this IoU are one thing, detected twice.
DOUBLE_IOU = 0.6
# A detection that lies in another with the same label to this share is a part of it.
PART_OF_ANOTHER = 0.85
# A detection with this IoU is the object, although another detection fits it better.
SURELY_SAME_IOU = 0.5
# The share of a detection covered by masks of objects from which it is a part of them. It is higher
# for objects that have a detection of their own: people who stand close together overlap.
COVERED = 0.4
COVERED_BY_FOUND = 0.85
# An object that lies in a detection to this share is a part of the detected thing: its mask is too
# small, or the detection holds several things. A tiny object in front of the thing is not.
OBJECT_INSIDE = 0.7
TINY = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class VisibleObject:
    """An object that is visible on the frame; ``crop`` is its mask inside the box."""

    object_id: int
    label: str | None
    box_xyxy: tuple[int, int, int, int]
    crop: MaskArray


def without_doubles(detections: Sequence[Detection]) -> tuple[list[Detection], int]:
    """The detections without duplicates, highest score first; and the number of duplicates.

    Detectors suppress duplicates within a class only: a car is often a truck as well.
    """
    kept: list[Detection] = []
    for each in sorted(detections, key=lambda one: -one.score):
        if not any(_is_double(each, other) for other in kept):
            kept.append(each)
    return kept, len(detections) - len(kept)


def _is_double(detection: Detection, better: Detection) -> bool:
    first, second = boxes_of([detection.box_xyxy]), boxes_of([better.box_xyxy])
    if ious(first, second)[0, 0] >= DOUBLE_IOU:
        return True
    part = intersections(first, second)[0, 0] / max(areas(first)[0], 1e-9)
    return detection.label == better.label and bool(part >= PART_OF_ANOTHER)


def matched(
    detections: Sequence[Detection], objects: Sequence[VisibleObject], match_iou: float
) -> list[int | None]:
    """For each detection the id of the object that it is, or None for a new thing.

    Greedy by IoU, the best pairs first and each object once (of masks where both are known). A
    detection that is left is still not new if it is a part of an object, or an object is a part of
    it, unless their labels differ: such a thing may be in front of the object.
    """
    found: list[int | None] = [None] * len(detections)
    if not detections or not objects:
        return found
    overlaps = _overlaps(detections, objects)
    taken: set[int] = set()
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        row, column = (int(each) for each in np.unravel_index(flat, overlaps.shape))
        if overlaps[row, column] < match_iou:
            break
        if found[row] is None and column not in taken:
            found[row] = objects[column].object_id
            taken.add(column)
    free = [each for column, each in enumerate(objects) if column not in taken]
    for row, detection in enumerate(detections):
        if found[row] is not None:
            continue
        nearest = int(overlaps[row].argmax())
        if overlaps[row, nearest] >= SURELY_SAME_IOU:
            found[row] = objects[nearest].object_id
        else:
            found[row] = _part_of(detection, free, COVERED)
            if found[row] is None:
                found[row] = _part_of(detection, objects, COVERED_BY_FOUND)
            if found[row] is None:
                found[row] = _holds(detection, free)
    return found


def _overlaps(
    detections: Sequence[Detection], objects: Sequence[VisibleObject]
) -> npt.NDArray[np.float64]:
    overlaps = ious(
        boxes_of([each.box_xyxy for each in detections]),
        boxes_of([each.box_xyxy for each in objects]),
    )
    for row, column in zip(*np.nonzero(overlaps), strict=True):
        crop = detections[row].crop
        if crop is not None:
            common = _common_pixels(detections[row], objects[column])
            union = int(crop.sum()) + int(objects[column].crop.sum()) - common
            overlaps[row, column] = common / max(union, 1)
    return overlaps


def _common_pixels(detection: Detection, seen: VisibleObject) -> int:
    """Pixels of an object's mask inside the detection's mask, or inside its box without a mask."""
    x0, y0, x1, y1 = (round(each) for each in detection.box_xyxy)
    left, top = max(x0, seen.box_xyxy[0]), max(y0, seen.box_xyxy[1])
    right, bottom = min(x1, seen.box_xyxy[2]), min(y1, seen.box_xyxy[3])
    if left >= right or top >= bottom:
        return 0
    object_x, object_y = seen.box_xyxy[:2]
    of_object = seen.crop[top - object_y : bottom - object_y, left - object_x : right - object_x]
    if detection.crop is None:
        return int(of_object.sum())
    return int((of_object & detection.crop[top - y0 : bottom - y0, left - x0 : right - x0]).sum())


def may_be_same(first: str | None, second: str | None) -> bool:
    """Whether two labels are equal, or one is missing."""
    return first is None or second is None or first == second


def _part_of(detection: Detection, objects: Sequence[VisibleObject], covered: float) -> int | None:
    alike = [each for each in objects if may_be_same(each.label, detection.label)]
    common = [_common_pixels(detection, each) for each in alike]
    if not common or sum(common) < covered * detection.area:
        return None
    return alike[int(np.argmax(common))].object_id


def _holds(detection: Detection, objects: Sequence[VisibleObject]) -> int | None:
    for each in objects:
        area = int(each.crop.sum())
        if (
            may_be_same(each.label, detection.label)
            and area >= TINY * detection.area
            and _common_pixels(detection, each) >= OBJECT_INSIDE * area
        ):
            return each.object_id
    return None
