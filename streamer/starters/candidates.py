"""Things that were detected and are not followed yet: how often in a row each was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamer.starters.detection import Box, Detection
from streamer.starters.geometry import (
    distance_in_sizes,
    iou,
    middle,
    moved,
    scaled,
    size_ratio,
)

# From one look to the next a thing may move by this many of its own sizes, beside what it is
# expected to, and change its size by this much.
REACH_IN_SIZES = 1.0
LEAST_SIZE_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Sighting:
    """A thing as it was last detected: how often in a row, and how it moves from look to look."""

    box_xyxy: Box
    label: str | None
    hits: int = 1
    step_xy: tuple[float, float] = (0.0, 0.0)

    @property
    def expected_box(self) -> Box:
        """Where it should be on the next look."""
        return moved(self.box_xyxy, *self.step_xy)

    def distance(self, detection: Detection) -> float | None:
        """How far a detection is from where it should be (0 is there); None if it is another."""
        if detection.label != self.label:
            return None
        box, expected = detection.box_xyxy, self.expected_box
        if size_ratio(box, expected) < LEAST_SIZE_RATIO:
            return None
        distance = distance_in_sizes(box, expected)
        if distance > REACH_IN_SIZES and iou(box, expected) == 0:
            return None
        return distance

    def seen_again(self, detection: Detection) -> Sighting:
        """The same thing on the next look."""
        (x0, y0), (x1, y1) = middle(self.box_xyxy), middle(detection.box_xyxy)
        return Sighting(detection.box_xyxy, self.label, self.hits + 1, (x1 - x0, y1 - y0))

    def rescaled(self, across: float, down: float) -> Sighting:
        """The same thing in pictures of another size."""
        step_xy = (self.step_xy[0] * across, self.step_xy[1] * down)
        return replace(self, box_xyxy=scaled(self.box_xyxy, across, down), step_xy=step_xy)


def pair(sightings: Sequence[Sighting], detections: Sequence[Detection]) -> dict[int, int]:
    """Which detection (by index) is which thing seen before: the nearest pairs first, each once."""
    distances = [
        (distance, row, column)
        for row, detection in enumerate(detections)
        for column, sighting in enumerate(sightings)
        if (distance := sighting.distance(detection)) is not None
    ]
    paired: dict[int, int] = {}
    taken: set[int] = set()
    for _, row, column in sorted(distances):
        if row not in paired and column not in taken:
            paired[row] = column
            taken.add(column)
    return paired


class Candidates:
    """What was seen on the last look. Bound: the detections of one look."""

    def __init__(self) -> None:
        self._sightings: list[Sighting] = []

    def observe(self, detections: Sequence[Detection]) -> list[int]:
        """The detections of a look that are nothing known -> how often in a row each was seen.

        What was not seen again begins anew when it comes back.
        """
        paired = pair(self._sightings, detections)
        self._sightings = [
            self._sightings[paired[row]].seen_again(detection)
            if row in paired
            else Sighting(detection.box_xyxy, detection.label)
            for row, detection in enumerate(detections)
        ]
        return [each.hits for each in self._sightings]

    def rescale(self, across: float, down: float) -> None:
        """Pictures have another size now."""
        self._sightings = [each.rescaled(across, down) for each in self._sightings]

    def clear(self) -> None:
        """The picture is another now."""
        self._sightings = []
