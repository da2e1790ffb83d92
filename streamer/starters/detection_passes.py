"""Where detection passes come from: a detector that is given pictures, or detections received.

Both run on the event loop; the pass itself runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from streamer.errors import ControlError
from streamer.inference.prompts.recent_frames import RecentFrame, RecentFrames
from streamer.starters.detector import Detector
from streamer.starters.policy import FrameFacts
from streamer.types import ClockSource, DecodedFrame, Detection, Frame, FrameReference, FrameResult

# Frames of one stream that detections can be for, without pictures. Policy: the oldest go.
FRAMES_KEPT = 256
EARLY_KEPT = 32
# Of the masks of those frames, and of the masks in early messages, each.
MASK_BYTES_KEPT = 1 << 26
EARLY_AT_MOST_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class DetectionPass:
    """One frame to detect things on, and what is known of it without its picture.

    ``find`` is called in a thread and may take long; it returns the detections, and the frame with
    its picture where there is one. ``is_slow``: the tracker should keep the frame meanwhile.
    """

    frame: FrameFacts
    find: Callable[[], tuple[FrameFacts, Sequence[Detection]]]
    is_slow: bool


class DetectionPasses(Protocol):
    """Gives one pass after another: ``due``, then ``take``."""

    def see(self, result: FrameResult) -> None:
        """Note a tracked frame."""

    def only_after(self, frame_index: int) -> None:
        """Skip frames up to this one: they do not have the objects that were just started."""

    def failed(self) -> None:
        """Note that the last pass raised."""

    async def due(self) -> None:
        """Wait until it is time for a pass and there is something to do."""

    def take(self) -> DetectionPass | None:
        """The pass over what came last; None if it is out of date."""


class PicturePasses:
    """Runs a detector on the newest tracked picture, ``rate_hz`` times a second at most.

    Bound: one picture waits; policy: a newer one replaces it.
    """

    def __init__(self, make: Callable[[], Detector], rate_hz: float) -> None:
        """``make`` is called in the thread, before the first pass and again after a failure."""
        self._make = make
        self._period_s = 1 / rate_hz
        self._due_s = 0.0
        self._after = -1
        self._newest: FrameResult | None = None
        self._arrived = asyncio.Event()
        self._detector: Detector | None = None

    def see(self, result: FrameResult) -> None:
        """Keep the picture until its turn comes or a newer one does."""
        self._newest = result
        self._arrived.set()

    def only_after(self, frame_index: int) -> None:
        """Detect on later frames only."""
        self._after = max(self._after, frame_index)

    def failed(self) -> None:
        """Make a new detector: the state of the failed one is unknown."""
        self._detector = None

    async def due(self) -> None:
        """Wait until there is a frame, and it is time for another pass."""
        await self._arrived.wait()
        await asyncio.sleep(max(0.0, self._due_s - asyncio.get_running_loop().time()))

    def take(self) -> DetectionPass | None:
        """A pass over the newest frame; None if it had one, or precedes a start."""
        self._arrived.clear()
        result, self._newest = self._newest, None
        if result is None or result.frame.index <= self._after:
            return None
        self._due_s = asyncio.get_running_loop().time() + self._period_s
        facts = facts_of(result)
        return DetectionPass(facts, partial(self._find, facts, result.frame.picture), is_slow=True)

    def _find(
        self, facts: FrameFacts, picture: DecodedFrame
    ) -> tuple[FrameFacts, Sequence[Detection]]:
        image = picture.pixels.rgb().view()  # of a decoder's planes it is made here
        image.flags.writeable = False  # the tracker reads it as well
        if self._detector is None:
            self._detector = self._make()
        return replace(facts, image=image), self._detector(image)


class ReceivedPasses:
    """Detections received from outside, each message for a frame of a moment ago.

    A detector may be faster than the tracker: detections for a future frame wait for it. Bounds:
    ``FRAMES_KEPT`` frames of the last ``history_ns``, without pictures; one message to be judged,
    which a newer one replaces; ``EARLY_KEPT`` early messages, the oldest go. Both are cut further,
    down to the newest, where their masks exceed ``MASK_BYTES_KEPT``.
    """

    def __init__(self, history_ns: int) -> None:
        self._recent = RecentFrames(history_ns)
        self._frames: dict[int, FrameFacts] = {}
        self._mask_bytes = 0
        self._after = -1
        self._waiting: tuple[RecentFrame, Sequence[Detection]] | None = None
        self._early: deque[tuple[FrameReference, Sequence[Detection]]] = deque(maxlen=EARLY_KEPT)
        self._arrived = asyncio.Event()

    def see(self, result: FrameResult) -> None:
        """Accept detections for this frame from now on."""
        frame, facts = result.frame, facts_of(result)
        oldest = self._recent.add(
            RecentFrame(
                index=frame.index,
                tracker_index=frame.index,
                session_id=frame.session_id,
                capture_time_ns=frame.picture.capture_time_ns,
                time_ns=facts.time_ns,
            )
        )
        self._frames[frame.index] = facts
        self._mask_bytes += _mask_bytes(facts)
        if len(self._frames) > FRAMES_KEPT:
            oldest = max(oldest, sorted(self._frames)[-FRAMES_KEPT])
        for index in sorted(self._frames):
            if index < oldest or (self._mask_bytes > MASK_BYTES_KEPT and index < frame.index):
                self._mask_bytes -= _mask_bytes(self._frames.pop(index))
                oldest = max(oldest, index + 1)
        self._recent.forget_before(oldest)
        for _ in range(len(self._early)):
            reference, detections = self._early.popleft()
            if self._is_to_come(reference):
                self._early.append((reference, detections))
                continue
            with suppress(ControlError):  # its frame was not tracked
                self._take(reference, detections)

    def only_after(self, frame_index: int) -> None:
        """Judge detections on later frames only."""
        self._after = max(self._after, frame_index)

    def failed(self) -> None:
        """Nothing to reset: no message is kept."""

    def offer(self, reference: FrameReference, detections: Sequence[Detection]) -> bool:
        """Accept detections for a frame; False if they replace others that were not judged yet.

        Raises ``ControlError`` for a frame that is unknown or too old.
        """
        if self._is_to_come(reference):
            free = len(self._early) < EARLY_KEPT
            self._early.append((reference, detections))
            while len(self._early) > 1 and self._early_mask_bytes() > MASK_BYTES_KEPT:
                self._early.popleft()
                free = False
            return free
        return self._take(reference, detections)

    def _early_mask_bytes(self) -> int:
        return sum(
            each.crop.nbytes
            for _, detections in self._early
            for each in detections
            if each.crop is not None
        )

    def _is_to_come(self, reference: FrameReference) -> bool:
        newest = self._recent.newest
        if newest is None:
            return False
        if reference.frame_index is not None:
            return 0 < reference.frame_index - newest.index <= FRAMES_KEPT
        ahead_ns = (reference.capture_time_ns or 0) - newest.capture_time_ns
        return 0 < ahead_ns <= EARLY_AT_MOST_NS

    def _take(self, reference: FrameReference, detections: Sequence[Detection]) -> bool:
        found = self._recent.find(reference)
        if found.index not in self._frames:
            raise ControlError(f"frame {found.index} is too old")
        free = self._waiting is None
        self._waiting = (found, detections)
        self._arrived.set()
        return free

    async def due(self) -> None:
        """Wait for detections."""
        await self._arrived.wait()

    def take(self) -> DetectionPass | None:
        """The detections that came last; None if their frame is gone, or precedes a start."""
        self._arrived.clear()
        waiting, self._waiting = self._waiting, None
        facts = None if waiting is None else self._frames.get(waiting[0].index)
        if waiting is None or facts is None or facts.frame_index <= self._after:
            return None
        detections = waiting[1]
        return DetectionPass(facts, lambda: (facts, detections), is_slow=False)


def facts_of(result: FrameResult) -> FrameFacts:
    """A tracked frame without its picture."""
    frame = result.frame
    height, width = frame.picture.pixels.height, frame.picture.pixels.width
    return FrameFacts(
        frame_index=frame.index,
        session_id=frame.session_id,
        time_ns=_time_ns(frame),
        width=width,
        height=height,
        objects=result.objects,
    )


def _mask_bytes(facts: FrameFacts) -> int:
    return sum(each.track.crop.nbytes for each in facts.objects)


def _time_ns(frame: Frame) -> int:
    """A file's own time, which may run faster than real time; for cameras our clock."""
    picture = frame.picture
    if picture.clock_source is ClockSource.FILE:
        return picture.capture_time_ns
    return picture.arrival_monotonic_ns
