"""Decides which detections on a frame become new objects, and which objects are removed.

Pure: from the detections and tracked objects of one pass after another to what to start, to find
again and to remove. Knows no thread, no socket and no tracker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import cv2
import numpy as np

from streamer.config.starters import StarterConfig
from streamer.runtime.clock import seconds_to_ns
from streamer.starters.candidates import Candidates
from streamer.starters.geometry import centre
from streamer.starters.last_places import LastPlaces
from streamer.starters.left_alone import LeftAlone
from streamer.starters.matching import VisibleObject, matched, without_doubles
from streamer.starters.twins import Twins
from streamer.types import Detection, ImageArray, ObjectResult

# The prompts of one pass are applied together; more would delay the tracker.
STARTS_PER_PASS = 8
BORDER = 0.01  # of the picture's longer side
UNCLEAR_FOR_S = 5.0
# nano predicts 0.55 to 0.7 for masks of a player, and anything from 0.02 on for bare ground.
LEAST_PREDICTED_IOU = 0.15


class Verdict(StrEnum):
    """What became of a detection; the ``verdict`` label of a metric."""

    STARTED = "started"
    FOUND = "found"  # a lost object, prompted anew
    FOLLOWED = "followed"  # an object that is tracked already
    DOUBLE = "double"  # detected twice on one frame
    WAITING = "waiting"  # not detected often enough in a row
    LABEL = "label"  # not one of the labels
    UNSURE = "unsure"  # below minimum_score
    SMALL = "small"
    LARGE = "large"
    OUTSIDE = "outside"  # not in the region
    BORDER = "border"  # touches the picture's border
    LEFT_ALONE = "left_alone"  # removed by a user, or not held by the tracker
    FULL = "full"  # max_objects, maximum_objects or STARTS_PER_PASS
    REJECTED = "rejected"  # the tracker refused the prompt
    UNCLEAR = "unclear"  # the tracker segmented something else there


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """A frame of a pass; ``objects`` are those tracked on it, hidden ones included.

    ``image`` is None where the picture was not kept; ``time_ns`` is on the stream's clock.
    """

    frame_index: int
    session_id: str
    time_ns: int
    width: int
    height: int
    objects: tuple[ObjectResult, ...]
    image: ImageArray | None = None


@dataclass(frozen=True, slots=True)
class StartDecision:
    """What to do, and how many other detections got which verdict."""

    starts: tuple[Detection, ...] = ()
    finds: tuple[tuple[int, Detection], ...] = ()
    removals: tuple[int, ...] = ()
    verdicts: Counter[Verdict] = field(default_factory=Counter)


@dataclass(slots=True)
class Known:
    """What the passes of a stream established so far; ``own``: started object -> detected label."""

    left_alone: LeftAlone = field(default_factory=LeftAlone)
    places: LastPlaces = field(default_factory=LastPlaces)
    twins: Twins = field(default_factory=Twins)
    own: dict[int, str | None] = field(default_factory=dict)  # users may rename them
    session_id: str | None = None
    size: tuple[int, int] | None = None


class StartPolicy:
    """Judges the passes of one stream, in order; used by one thread at a time."""

    def __init__(
        self,
        config: StarterConfig,
        max_objects: int,
        keep_off_border: bool,
        known: Known | None = None,
    ) -> None:
        """``known`` is taken over from a policy with other settings."""
        self._config = config
        self._max_objects = max_objects
        self._keep_off_border = keep_off_border
        self._region = np.array(config.region, dtype=np.float32).reshape(-1, 2)
        self._candidates = Candidates()
        self.known = known or Known()

    @property
    def own(self) -> frozenset[int]:
        """The objects tracked now that this starter started."""
        return frozenset(self.known.own)

    def decide(self, detections: Sequence[Detection], frame: FrameFacts) -> StartDecision:
        """Judge the detections on a frame."""
        self._take_size(frame.width, frame.height)
        verdicts: Counter[Verdict] = Counter()
        usable = [each for each in detections if self._is_usable(each, frame, verdicts)]
        usable = [self._named(each) for each in usable]
        usable, doubles = without_doubles(usable)
        verdicts[Verdict.DOUBLE] += doubles
        seen = self._observe(frame)
        new = self._not_tracked(usable, seen, verdicts)
        left_alone = self.known.left_alone.among(new, frame.time_ns)
        verdicts[Verdict.LEFT_ALONE] += len(left_alone)
        new = [each for index, each in enumerate(new) if index not in left_alone]
        finds, starts = self._judge_new(new, frame, verdicts)
        removals = (*self._lost_for_too_long(frame), *self.known.twins.observe(seen, self.own))
        return StartDecision(tuple(starts), tuple(finds), removals, +verdicts)

    def missed(self) -> None:
        """Note a failed pass: detections before and after it are not consecutive."""
        self._candidates.clear()

    def started(self, object_id: int, detection: Detection) -> None:
        """Note a start that was applied, possibly long before the next pass."""
        self.known.own[object_id] = detection.label
        self.known.places.begin(object_id, detection.label, detection.box_xyxy)

    def unclear(self, detection: Detection, time_ns: int) -> None:
        """Note that the tracker segmented something else: no retry for a moment."""
        self.known.left_alone.add(
            detection.box_xyxy, detection.label, time_ns, seconds_to_ns(UNCLEAR_FOR_S)
        )

    # The steps of ``decide``.

    def _take_size(self, width: int, height: int) -> None:
        """Rescale what is known when the camera's pictures have another size."""
        if self.known.size is not None and self.known.size != (width, height):
            across, down = width / self.known.size[0], height / self.known.size[1]
            for each in (self._candidates, self.known.left_alone, self.known.places):
                each.rescale(across, down)
        self.known.size = (width, height)

    def _named(self, detection: Detection) -> Detection:
        """Give the detection the label that its object will have, so that it matches later."""
        if detection.label is not None or self._config.label is None:
            return detection
        return replace(detection, label=self._config.label)

    def _is_usable(
        self, detection: Detection, frame: FrameFacts, verdicts: Counter[Verdict]
    ) -> bool:
        config = self._config
        picture_area = frame.width * frame.height
        verdict = None
        if config.labels and detection.label not in config.labels:
            verdict = Verdict.LABEL
        elif detection.score < config.minimum_score:
            verdict = Verdict.UNSURE
        elif detection.area < config.minimum_area * picture_area:
            verdict = Verdict.SMALL
        elif detection.area > config.maximum_area * picture_area:
            verdict = Verdict.LARGE
        elif self._region.size and not self._in_region(detection):
            verdict = Verdict.OUTSIDE
        if verdict is not None:
            verdicts[verdict] += 1
        return verdict is None

    def _in_region(self, detection: Detection) -> bool:
        return bool(cv2.pointPolygonTest(self._region, centre(detection.box_xyxy), False) >= 0)

    def _observe(self, frame: FrameFacts) -> list[VisibleObject]:
        """The visible objects; leave alone what was removed since the last pass."""
        if frame.session_id != self.known.session_id:
            self._candidates.clear()
            self.known.places.restart_waiting(frame.time_ns)
            self.known.session_id = frame.session_id
        seen = [
            VisibleObject(
                each.track.object_id, self._label_of(each), each.track.box_xyxy, each.track.crop
            )
            for each in frame.objects
            if each.track.area > 0 and not self._is_doubtful(each)
        ]
        live = {each.track.object_id for each in frame.objects}
        self.known.own = {each: label for each, label in self.known.own.items() if each in live}
        for place in self.known.places.observe(live, seen, frame.image, frame.time_ns):
            if place.hidden_since_ns is None:
                for_ns = seconds_to_ns(self._config.ignore_removed_s)
                self.known.left_alone.add(place.box_xyxy, place.label, frame.time_ns, for_ns)
        return seen

    def _label_of(self, tracked: ObjectResult) -> str | None:
        return self.known.own.get(tracked.track.object_id, tracked.label)

    def _is_doubtful(self, tracked: ObjectResult) -> bool:
        """Whether an object of its own has a mask that the model itself gives little credit.

        Such a mask covers nothing, takes a place, and would keep things there from being started.
        """
        track = tracked.track
        return track.object_id in self.known.own and track.predicted_iou < LEAST_PREDICTED_IOU

    def _not_tracked(
        self,
        detections: Sequence[Detection],
        seen: Sequence[VisibleObject],
        verdicts: Counter[Verdict],
    ) -> list[Detection]:
        owners = matched(detections, seen, self._config.match_iou)
        new = [each for each, owner in zip(detections, owners, strict=True) if owner is None]
        verdicts[Verdict.FOLLOWED] += len(detections) - len(new)
        return new

    def _judge_new(
        self, new: Sequence[Detection], frame: FrameFacts, verdicts: Counter[Verdict]
    ) -> tuple[list[tuple[int, Detection]], list[Detection]]:
        finds: list[tuple[int, Detection]] = []
        starts: list[Detection] = []
        hits = self._candidates.observe(new)
        lost = self._lost_objects(new, frame)
        free = self._free_places(len(frame.objects))
        for index, detection in enumerate(new):
            if hits[index] < self._config.minimum_hits or lost.get(index) == ():
                verdicts[Verdict.WAITING] += 1
            elif self._keep_off_border and _touches_border(detection, frame):
                verdicts[Verdict.BORDER] += 1
            elif index in lost:
                finds.append((lost[index][0], detection))
            elif len(starts) >= free:
                verdicts[Verdict.FULL] += 1
            else:
                starts.append(detection)
        return finds, starts

    def _lost_objects(
        self, new: Sequence[Detection], frame: FrameFacts
    ) -> dict[int, tuple[int, ...]]:
        """Detection index -> the id of the hidden object that it must be.

        Empty while the object may still reappear by itself. Where one detection may be several
        objects, or several detections one object, there is no entry: they are new things.
        """
        if not self._config.find_lost:
            return {}
        choices = [self.known.places.lost_here(each, frame.image, frame.time_ns) for each in new]
        wanted = Counter(object_id for each in choices for object_id in each)
        wait_ns = seconds_to_ns(self._config.lost_wait_s)
        lost: dict[int, tuple[int, ...]] = {}
        for index, choice in enumerate(choices):
            if len(choice) == 1 and wanted[choice[0]] == 1:
                waited = self.known.places.hidden_for_ns(choice[0], frame.time_ns) >= wait_ns
                lost[index] = (choice[0],) if waited else ()
        return lost

    def _free_places(self, tracked_now: int) -> int:
        free = self._max_objects - tracked_now
        if self._config.maximum_objects is not None:
            free = min(free, self._config.maximum_objects - len(self.known.own))
        return max(0, min(free, STARTS_PER_PASS))

    def _lost_for_too_long(self, frame: FrameFacts) -> tuple[int, ...]:
        limit_ns = seconds_to_ns(self._config.remove_lost_s)
        if not limit_ns:
            return ()
        return tuple(
            object_id
            for object_id in sorted(self.known.own)
            if self.known.places.hidden_for_ns(object_id, frame.time_ns) >= limit_ns
        )


def _touches_border(detection: Detection, frame: FrameFacts) -> bool:
    margin = BORDER * max(frame.width, frame.height)
    x0, y0, x1, y1 = detection.box_xyxy
    right, bottom = frame.width - margin, frame.height - margin
    return x0 < margin or y0 < margin or x1 > right or y1 > bottom
