"""The streams of ``steady_step``: two networks, their pictures, and objects that come and go.

A small network with its objects padded to a few counts, as on a GPU, and nano as it runs on a CPU.
All objects are visible in every picture, because visibility changes the work of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE, little_picture
from tracker import Prompt, Session, Tracker, TrackerOptions
from tracker.options import EngineOptions
from tracker.scenes import EVALUATION_SEED_START, Match
from tracker.scenes.frame import ImageArray

MOST_OBJECTS, FEWEST_OBJECTS = 8, 5
CHANGE_EVERY_FRAMES = 25
# From here on the first objects' memories and the allocator's pools are full.
SETTLED_AFTER_FRAMES = 200
# A new object's memory is full after this many frames.
YOUNG_FRAMES = 16
# The pictures play forward and backward, so that motion stays smooth.
MATCH_PICTURES = 60
SEEN = 20.0  # a bias of the occlusion head that outweighs everything

Box = tuple[float, float, float, float]


class Picture(NamedTuple):
    """An image and the boxes of the things on it that can be prompted."""

    image: ImageArray
    boxes: Sequence[Box]


@dataclass(frozen=True, slots=True)
class Stream:
    """A tracker and its pictures. ``threads``: of PyTorch; None keeps its default."""

    name: str
    tracker: Tracker
    pictures: Sequence[Picture]
    threads: int | None

    def picture(self, index: int) -> Picture:
        """The picture of frame ``index``."""
        last = len(self.pictures) - 1
        return self.pictures[last - abs(last - index % (2 * last))]


class Crowd:
    """Objects that come and go: removed one by one down to the fewest, then added up to the most.

    All begin on the first frame.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._named = 0
        self._shrinks = True

    def begin(self, picture: Picture) -> list[Prompt]:
        """The prompts of the first frame."""
        return [self._prompt(picture) for _ in range(MOST_OBJECTS)]

    def change(self, picture: Picture) -> list[Prompt]:
        """Remove an object, or return the prompt that adds one."""
        count = len(self._session.object_ids)
        if count in (FEWEST_OBJECTS, MOST_OBJECTS):
            self._shrinks = count == MOST_OBJECTS
        if self._shrinks:
            self._session.remove(self._session.object_ids[0])
            return []
        return [self._prompt(picture)]

    def _prompt(self, picture: Picture) -> Prompt:
        self._named += 1
        return Prompt(self._named, box_xyxy=picture.boxes[self._named % len(picture.boxes)])


def little() -> Stream:
    """A network whose step takes milliseconds; one thread, since more would cost more."""
    weights = amplified_weights(shapes_of(LITTLE), seed=1, object_score_bias=SEEN)
    fixed = EngineOptions(fixed_shapes="on", row_sizes=(1, 2, 4, 8))
    options = TrackerOptions(max_objects=2 * MOST_OBJECTS, engine=fixed)
    tracker = Tracker(model_with(LITTLE, weights), torch.device("cpu"), options)
    places = [4.0 + 6 * place for place in range(7)]
    boxes = [(place, place, place + 16, place + 16) for place in places]
    return Stream(
        "small network, padded to 1, 2, 4, 8",
        tracker,
        [Picture(little_picture(index), boxes) for index in range(5)],
        threads=1,
    )


def nano() -> Stream:
    """The embedded nano, on a rendered match of seven players and a ball."""
    options = TrackerOptions(max_objects=2 * MOST_OBJECTS)
    tracker = Tracker.from_checkpoint("nano", device="cpu", options=options)
    match = Match(EVALUATION_SEED_START)
    pictures = [
        Picture(
            frame.image,
            [
                (float(x0), float(y0), float(x1), float(y1))
                for object_id, (x0, y0, x1, y1) in frame.boxes.items()
                if frame.visible[object_id]
            ],
        )
        for frame in match.clip(0, MATCH_PICTURES)
    ]
    return Stream("nano, a match of 640x360", tracker, pictures, threads=None)


STREAMS: dict[str, Callable[[], Stream]] = {"little": little, "nano": nano}
