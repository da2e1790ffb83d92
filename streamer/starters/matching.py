"""Which of the detections are objects that are followed already, so that nothing starts twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamer.starters.detection import Detection, MaskArray
from streamer.starters.geometry import areas, boxes_of, intersections, ious

# Two detections that overlap so much are one thing that was found twice.
DOUBLE_IOU = 0.6
# A detection of the same kind that lies in another by this much is a part of it.
PART_OF_ANOTHER = 0.85
# What overlaps an object so much is that object, although a better box was found for it.
SURELY_SAME_IOU = 0.5
# So much of a detection's box belongs to the masks of objects: it is a part of them. More is asked
# for where all objects were found themselves: people who stand close overlap.
COVERED = 0.4
COVERED_BY_FOUND = 0.85
# An object that lies in a detection by this much is a part of what was detected: its mask is too
# small, or one detection holds several things. Something tiny in front of it is not.
OBJECT_INSIDE = 0.7
TINY = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """An object that is seen on the frame; ``crop`` is its mask inside the box."""

    object_id: int
    label: str | None
    box_xyxy: tuple[int, int, int, int]
    crop: MaskArray


def without_doubles(detections: Sequence[Detection]) -> tuple[list[Detection], int]:
    """The detections, surest first, without those found twice; and how many those were.

    Detectors drop doubles within a class only: a car is often a truck as well.
    """
    kept: list[Detection] = []
    for each in sorted(detections, key=lambda one: -one.score):
        if not any(_is_double(each, other) for other in kept):
            kept.append(each)
    return kept, len(detections) - len(kept)


def _is_double(detection: Detection, surer: Detection) -> bool:
    first, second = boxes_of([detection.box_xyxy]), boxes_of([surer.box_xyxy])
    if ious(first, second)[0, 0] >= DOUBLE_IOU:
        return True
    part = intersections(first, second)[0, 0] / max(areas(first)[0], 1e-9)
    return detection.label == surer.label and bool(part >= PART_OF_ANOTHER)


def followed(
    detections: Sequence[Detection], objects: Sequence[Seen], match_iou: float
) -> list[int | None]:
    """For each detection the id of the object that it is, or None for something new.

    First by overlap, the best pairs first and each object once (masks against masks where both
    are known). What is left is still no new thing if it is a part of an object, or an object a
    part of it; a thing whose label is another may lie in front of an object.
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


def _overlaps(detections: Sequence[Detection], objects: Sequence[Seen]) -> npt.NDArray[np.float64]:
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


def _common_pixels(detection: Detection, seen: Seen) -> int:
    """Pixels of an object's mask that lie in the detection's mask, or without one in its box."""
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
    """Whether two labels do not contradict one another."""
    return first is None or second is None or first == second


def _part_of(detection: Detection, objects: Sequence[Seen], covered: float) -> int | None:
    alike = [each for each in objects if may_be_same(each.label, detection.label)]
    common = [_common_pixels(detection, each) for each in alike]
    if not common or sum(common) < covered * detection.area:
        return None
    return alike[int(np.argmax(common))].object_id


def _holds(detection: Detection, objects: Sequence[Seen]) -> int | None:
    for each in objects:
        area = int(each.crop.sum())
        if (
            may_be_same(each.label, detection.label)
            and area >= TINY * detection.area
            and _common_pixels(detection, each) >= OBJECT_INSIDE * area
        ):
            return each.object_id
    return None
