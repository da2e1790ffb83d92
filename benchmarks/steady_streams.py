"""What the measurement of even steps tracks: two networks, their pictures, who comes and who goes.

A small network with its objects padded to a few counts, as on a GPU, and nano as a processor runs
it. Both see all of their objects on every picture: what is in sight changes what there is to do.
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
# By then every object has a full memory, and the allocator its pools.
SETTLED_AFTER_FRAMES = 200
# After so many frames a new object remembers as much as the others.
YOUNG_FRAMES = 16
# Pictures are gone through forth and back, so that everything goes on moving smoothly.
MATCH_PICTURES = 60
SEEN = 20.0  # a bias of the occlusion head that outweighs everything

Box = tuple[float, float, float, float]


class Picture(NamedTuple):
    """An image and where things are on it that may be pointed at."""

    image: ImageArray
    boxes: Sequence[Box]


@dataclass(frozen=True, slots=True)
class Stream:
    """A tracker and what it is to look at. ``threads``: to compute with; None as PyTorch chose."""

    name: str
    tracker: Tracker
    pictures: Sequence[Picture]
    threads: int | None

    def picture(self, index: int) -> Picture:
        """The picture of a frame."""
        last = len(self.pictures) - 1
        return self.pictures[last - abs(last - index % (2 * last))]


class Crowd:
    """Objects that come and go: one goes every so many frames down to the fewest, then one comes.

    All of them begin on the first frame, one on every thing that can be seen.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._named = 0
        self._shrinks = True

    def begin(self, picture: Picture) -> list[Prompt]:
        """The prompts of the first frame."""
        return [self._prompt(picture) for _ in range(MOST_OBJECTS)]

    def change(self, picture: Picture) -> list[Prompt]:
        """One goes, or one comes; its prompt then."""
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
    """The code that every network runs, in milliseconds; more threads would cost more than work."""
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
    """The network that comes along, on a match of seven players and a ball."""
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
