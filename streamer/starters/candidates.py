"""Candidates: things that are detected and not tracked yet, and how often in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamer.starters.geometry import centre, distance_in_sizes, iou, moved, scaled, size_ratio
from streamer.types import Box, Detection

# From one pass to the next a thing may be this many of its own sizes away from where it is
# expected, and change its size by this ratio.
REACH_IN_SIZES = 1.0
LEAST_SIZE_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A thing as it was last detected: how often in a row, and its motion per pass."""

    box_xyxy: Box
    label: str | None
    hits: int = 1
    step_xy: tuple[float, float] = (0.0, 0.0)

    @property
    def expected_box(self) -> Box:
        """Where it is expected in the next pass."""
        return moved(self.box_xyxy, *self.step_xy)

    def distance(self, detection: Detection) -> float | None:
        """How far a detection is from the expected box; None if it is another thing."""
        if detection.label != self.label:
            return None
        box, expected = detection.box_xyxy, self.expected_box
        if size_ratio(box, expected) < LEAST_SIZE_RATIO:
            return None
        distance = distance_in_sizes(box, expected)
        if distance > REACH_IN_SIZES and iou(box, expected) == 0:
            return None
        return distance

    def seen_again(self, detection: Detection) -> Candidate:
        """The candidate after the next pass."""
        (x0, y0), (x1, y1) = centre(self.box_xyxy), centre(detection.box_xyxy)
        return Candidate(detection.box_xyxy, self.label, self.hits + 1, (x1 - x0, y1 - y0))

    def rescaled(self, across: float, down: float) -> Candidate:
        """The candidate in pictures of another size."""
        step_xy = (self.step_xy[0] * across, self.step_xy[1] * down)
        return replace(self, box_xyxy=scaled(self.box_xyxy, across, down), step_xy=step_xy)


def pair(candidates: Sequence[Candidate], detections: Sequence[Detection]) -> dict[int, int]:
    """Detection index -> index of the candidate it is: the nearest pairs first, each once."""
    distances = [
        (distance, row, column)
        for row, detection in enumerate(detections)
        for column, candidate in enumerate(candidates)
        if (distance := candidate.distance(detection)) is not None
    ]
    paired: dict[int, int] = {}
    taken: set[int] = set()
    for _, row, column in sorted(distances):
        if row not in paired and column not in taken:
            paired[row] = column
            taken.add(column)
    return paired


class Candidates:
    """The candidates of the last pass. Bound: the detections of one pass."""

    def __init__(self) -> None:
        self._known: list[Candidate] = []

    def observe(self, detections: Sequence[Detection]) -> list[int]:
        """Detections of no tracked object -> in how many consecutive passes each was detected.

        A candidate that is missed once starts again at 1.
        """
        paired = pair(self._known, detections)
        self._known = [
            self._known[paired[row]].seen_again(detection)
            if row in paired
            else Candidate(detection.box_xyxy, detection.label)
            for row, detection in enumerate(detections)
        ]
        return [each.hits for each in self._known]

    def rescale(self, across: float, down: float) -> None:
        """Convert all boxes to the new size of the pictures."""
        self._known = [each.rescaled(across, down) for each in self._known]

    def clear(self) -> None:
        """Forget all candidates: the picture changed."""
        self._known = []
