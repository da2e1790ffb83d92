"""Small stand-ins that keep the real protocols: a clock turned by hand, a tracker, a sink, …"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from fractions import Fraction

import numpy as np
import torch

from streamer.config.streams import StreamConfig
from streamer.runtime.clock import seconds_to_ns
from streamer.sources.base import Source, SourceOutput
from streamer.sources.read_deadline import ReadDeadline
from streamer.types import ClockSource, DecodedFrame, FrameResult, Published, RgbPixels, StreamEvent
from tracker import (
    CapacityError,
    ModelConfig,
    ModelIdentity,
    ObjectMemory,
    ObjectMemoryError,
    Prompt,
    PromptError,
    SessionError,
    Track,
    TrackState,
)
from tracker.step.correction import Correction
from tracker.types import StepFacts

FAILS = (255, 0, 0)
HIDES = (0, 255, 0)
CUTS = (0, 0, 255)
FAKE_MODEL = ModelIdentity("fake", "0" * 64)


class FakeClock:
    """Time stands still until a test turns it, or until somebody waits."""

    def __init__(self, now_ns: int = 1_000_000_000_000) -> None:
        self.now_ns = now_ns

    def unix_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += seconds_to_ns(seconds)

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        if timeout_s is None:
            return event.wait(5.0)
        if not event.is_set():
            self.advance(timeout_s)
        return event.is_set()


def picture(
    number: int = 0,
    *,
    colour: tuple[int, int, int] = (0, 0, 0),
    width: int = 32,
    height: int = 24,
    time_s: float | None = None,
    clock_source: ClockSource = ClockSource.ARRIVAL,
) -> DecodedFrame:
    """A plain picture; ``number`` is its pts in 25ths of a second and, by default, its time."""
    arrival_ns = seconds_to_ns(number / 25 if time_s is None else time_s)
    return DecodedFrame(
        pixels=RgbPixels(np.full((height, width, 3), colour, dtype=np.uint8)),
        pts=number,
        time_base=Fraction(1, 25),
        capture_time_ns=arrival_ns,
        clock_source=clock_source,
        arrival_time_ns=arrival_ns,
        arrival_monotonic_ns=arrival_ns,
        decoded_monotonic_ns=arrival_ns,
    )


def object_memory(value: float, model: ModelIdentity = FAKE_MODEL) -> ObjectMemory:
    """A memory of the right form, two frames of it, in which everything is ``value``."""
    return ObjectMemory(
        model,
        np.array([1, 7], dtype=np.int64),
        np.full((2, 4, 3), value, dtype=np.float32),
        np.full((2, 5), value, dtype=np.float32),
    )


class FakeSession:
    """Keeps ids and the images of its history, nothing else."""

    def __init__(self, max_objects: int, history_frames: int = 1) -> None:
        self.max_objects = max_objects
        self.history_frames = history_frames
        self.frames_seen = 0
        self.images: dict[int, np.ndarray] = {}
        self.holders: dict[str, tuple[int, np.ndarray]] = {}
        self.object_ids: tuple[int, ...] = ()
        self.closed = False
        self.left_out: frozenset[int] = frozenset()
        self.gaps: deque[int] = deque(maxlen=64)
        self.last_step = StepFacts()
        self.mask_smoothing = 0.0

    def smooth_masks(self, past_share: float) -> None:
        self.mask_smoothing = past_share

    def note_gap(self, frames: int) -> None:
        self.gaps.append(frames)

    def leave_out(self, object_ids: Collection[int]) -> None:
        self.left_out = frozenset(object_ids)

    def remove(self, object_id: int) -> None:
        if object_id not in self.object_ids:
            raise KeyError(object_id)
        self.object_ids = tuple(each for each in self.object_ids if each != object_id)

    def export_object(self, object_id: int) -> ObjectMemory:
        if object_id not in self.object_ids:
            raise KeyError(object_id)
        return object_memory(object_id)

    def import_object(self, object_id: int, memory: ObjectMemory) -> None:
        if memory.model != FAKE_MODEL:
            raise ObjectMemoryError(f"object {object_id} was remembered by {memory.model.name}")
        if len(self.object_ids) >= self.max_objects:
            raise CapacityError("full")
        self.object_ids = (*self.object_ids, object_id)

    @property
    def oldest_frame(self) -> int | None:
        return min(self.images, default=None)

    @property
    def history_bytes(self) -> int:
        return sum(image.nbytes for image in self.images.values())

    def remember(self, image: np.ndarray) -> None:
        self.images[self.frames_seen] = image
        self.frames_seen += 1
        self.forget_before(self.frames_seen - self.history_frames)

    def forget_before(self, frame_index: int) -> None:
        for index in [index for index in self.images if index < frame_index]:
            del self.images[index]

    def hold(self, frame_index: int, holder: str) -> None:
        self.holders[holder] = (frame_index, self.image(frame_index))

    def let_go(self, holder: str) -> None:
        self.holders.pop(holder)

    @property
    def held(self) -> dict[int, np.ndarray]:
        return dict(self.holders.values())

    def image(self, frame_index: int) -> np.ndarray:
        known = self.held | self.images
        if frame_index not in known:
            raise PromptError(f"frame {frame_index} is not in the history")
        return known[frame_index]

    def close(self) -> None:
        self.object_ids = ()
        self.closed = True


class FakePending:
    """A step whose results are ready once ``landed`` is set."""

    def __init__(
        self,
        landed: threading.Event,
        tracks: list[list[Track]],
        indexes: list[int],
        facts: list[StepFacts],
        undo: Callable[[], None],
        fails: Exception | None,
    ) -> None:
        self.frame_indexes = indexes
        self.facts = facts
        self.error: Exception | None = None
        self.collected = False
        self._landed = landed
        self._tracks = tracks
        self._undo = undo
        self._fails = fails

    def collect(self) -> list[list[Track]]:
        self._landed.wait(20.0)
        self.collected = True
        self.settle()
        if self.error is not None:
            raise self.error
        return self._tracks

    def settle(self) -> None:
        if self._fails is not None and self.error is None:
            self.error = self._fails
            self._undo()

    def withdraw(self) -> None:
        self._fails = SessionError("the step was withdrawn")
        self.settle()


class FakeTracker:
    """Finds every object everywhere; refuses ids above 900; fails on pictures of one colour.

    Like the real one it refuses a bad prompt before it changes anything. ``held`` keeps steps
    from ending while it is clear, so that a test can fill the slots meanwhile.
    """

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.config = ModelConfig(name="fake")
        self.image_sizes: tuple[int, ...] = (1024, 768, 512)
        self.memory_bank_bytes = 4096
        self.batch_sizes: list[int] = []
        self.searched: deque[set[int]] = deque(maxlen=64)  # the objects of the last steps
        self.sessions: list[FakeSession] = []
        self.corrections: list[tuple[tuple[int, ...], int, bool]] = []
        self.fatal: BaseException | None = None
        self.held = threading.Event()
        self.held.set()
        self.overlaps = False
        self.landed = threading.Event()  # while it is clear, no step's results are there
        self.landed.set()
        self.failing_late: list[Exception] = []  # of the next steps, one each
        self.submitted = 0
        self.most_on_their_way = 0
        self._on_their_way: list[FakePending] = []

    def submit(
        self, batch: Sequence[tuple[FakeSession, np.ndarray, Sequence[Prompt]]]
    ) -> FakePending:
        """``step``, told later. A step that fails late is noticed by the next one at last."""
        self._on_their_way = [each for each in self._on_their_way if not each.collected]
        for before in self._on_their_way:
            before.settle()
            if before.error is not None:
                self._on_their_way.remove(before)
                raise SessionError("the step submitted before this one has failed")
        sessions = [session for session, _, _ in batch]
        known = [(session.object_ids, session.frames_seen) for session in sessions]
        tracks = self.step(batch)

        def undo() -> None:
            for session, (object_ids, frames_seen) in zip(sessions, known, strict=True):
                session.object_ids, session.frames_seen = object_ids, frames_seen
                session.images.pop(frames_seen)

        pending = FakePending(
            self.landed,
            tracks,
            [session.frames_seen - 1 for session in sessions],
            [session.last_step for session in sessions],
            undo,
            self.failing_late.pop(0) if self.failing_late else None,
        )
        self._on_their_way.append(pending)
        self.submitted += 1
        self.most_on_their_way = max(self.most_on_their_way, len(self._on_their_way))
        return pending

    def open_session(
        self,
        max_objects: int | None = None,
        history_frames: int = 1,
        history_bytes: int | None = None,
        *,
        needs_positive: bool | None = None,
    ) -> FakeSession:
        self.sessions.append(FakeSession(max_objects or 64, history_frames))
        return self.sessions[-1]

    def set_image_size(self, image_size: int) -> None:
        assert image_size in self.image_sizes
        self.config = self.config.replaced(image_size=image_size)

    def warm_up(self, progress: Callable[[int, int], None] | None = None) -> None:
        if progress is not None:
            progress(1, 1)

    def warm_next(self) -> bool:
        return False

    def step(
        self, batch: Sequence[tuple[FakeSession, np.ndarray, Sequence[Prompt]]]
    ) -> list[list[Track]]:
        if self.fatal is not None:
            raise self.fatal
        self.held.wait(20.0)
        for session, _, prompts in batch:
            self._admit(session, prompts)
        self.batch_sizes.append(len(batch))
        results = []
        for session, image, prompts in batch:
            new = [p.object_id for p in prompts if p.object_id not in session.object_ids]
            session.object_ids += tuple(new)
            if tuple(image[0, 0]) == FAILS:
                raise RuntimeError("this picture cannot be tracked")
            hidden = tuple(image[0, 0]) == HIDES
            session.last_step = StepFacts(scene_cut=tuple(image[0, 0]) == CUTS)
            prompted = {prompt.object_id for prompt in prompts}
            self.searched.append(set(session.object_ids) - (session.left_out - prompted))
            results.append(
                [
                    track(object_id, image, hidden)
                    for object_id in session.object_ids
                    if object_id in self.searched[-1]
                ]
            )
            session.remember(image)
        return results

    def correct(
        self, session: FakeSession, prompts: Sequence[Prompt], frame_index: int, *, anew: bool
    ) -> Correction:
        self.held.wait(20.0)
        if self.fatal is not None:
            raise self.fatal
        image = session.image(frame_index)
        self._admit(session, prompts)
        if tuple(image[0, 0]) == FAILS:
            raise RuntimeError("this picture cannot be tracked")
        object_ids = tuple(prompt.object_id for prompt in prompts)
        self.corrections.append((object_ids, frame_index, anew))
        new = [object_id for object_id in object_ids if object_id not in session.object_ids]
        session.object_ids += tuple(new)
        newest = session.images[session.frames_seen - 1]
        on_frame, latest = (
            [track(each, shown, tuple(shown[0, 0]) == HIDES) for each in object_ids]
            for shown in (image, newest)
        )
        return Correction(on_frame, latest)

    def preview(
        self, session: FakeSession, prompt: Prompt, frame_index: int, *, anew: bool
    ) -> Track:
        self._admit(session, [prompt])
        return track(prompt.object_id, session.image(frame_index))

    @staticmethod
    def _admit(session: FakeSession, prompts: Sequence[Prompt]) -> None:
        for prompt in prompts:
            if prompt.object_id > 900:
                raise PromptError(f"object {prompt.object_id} is refused")
        new = {prompt.object_id for prompt in prompts} - set(session.object_ids)
        if len(session.object_ids) + len(new) > session.max_objects:
            raise CapacityError("full")


def track(object_id: int, image: np.ndarray, hidden: bool = False) -> Track:
    """A track of the upper left corner."""
    height, width = image.shape[:2]
    box = (0, 0, 0, 0) if hidden else (0, 0, 4, 3)
    return Track(
        object_id=object_id,
        state=TrackState.OCCLUDED if hidden else TrackState.VISIBLE,
        box_xyxy=box,
        crop=np.ones((box[3], box[2]), dtype=np.bool_),
        area=box[2] * box[3],
        predicted_iou=0.9,
        object_score=0.0 if hidden else 1.0,
        frame_height=height,
        frame_width=width,
    )


class Journal:
    """Everything that was published, from any thread."""

    def __init__(self) -> None:
        self.items: list[Published] = []

    def __call__(self, item: Published) -> None:
        self.items.append(item)

    def results(self, stream_id: str | None = None) -> list[FrameResult]:
        return [
            item
            for item in tuple(self.items)
            if isinstance(item, FrameResult) and stream_id in (None, item.frame.stream_id)
        ]

    def events(self, stream_id: str | None = None) -> list[StreamEvent]:
        return [
            item
            for item in tuple(self.items)
            if isinstance(item, StreamEvent) and stream_id in (None, item.stream_id)
        ]

    def event_kinds(self, stream_id: str | None = None) -> list[str]:
        return [str(event.kind) for event in self.events(stream_id)]


class RecordingSink:
    """Keeps what it gets; ``gate``, while clear, keeps it from taking the next item."""

    def __init__(self, name: str = "recording") -> None:
        self.name = name
        self.published = Journal()
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False
        self.error: Exception | None = None

    async def start(self) -> None:
        return

    def wants(self, item: Published) -> bool:
        return item is not None

    async def publish(self, item: Published) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.published(item)

    async def close(self) -> None:
        self.closed = True


Script = Callable[[SourceOutput, threading.Event], None]


class ScriptedSource:
    """A source that runs a function."""

    deadline: ReadDeadline | None = None

    def __init__(self, script: Script, *, lossless: bool = False, url: str = "fake://") -> None:
        self._script = script
        self.lossless = lossless
        self.redacted_url = url

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        self._script(output, stop)


def sources(*scripts: Script, lossless: bool = False) -> Callable[[str, StreamConfig], Source]:
    """A ``make_source`` that runs one script an attempt; the last one again and again."""
    remaining = list(scripts)

    def make(_stream_id: str, _config: StreamConfig) -> Source:
        script = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return ScriptedSource(script, lossless=lossless)

    return make
