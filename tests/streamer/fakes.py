"""Small stand-ins that keep the real protocols: a clock turned by hand, a tracker, a sink, …"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch

from streamer.config import StreamConfig
from streamer.sources.base import Source, SourceOutput
from streamer.timing import seconds_to_ns
from streamer.types import ClockSource, DecodedFrame, FrameResult, Published, StreamEvent
from tracker import CapacityError, ModelConfig, Prompt, PromptError, Track, TrackState

FAILS = (255, 0, 0)
HIDES = (0, 255, 0)


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
        image=np.full((height, width, 3), colour, dtype=np.uint8),
        pts=number,
        time_base=Fraction(1, 25),
        capture_time_ns=arrival_ns,
        clock_source=clock_source,
        arrival_time_ns=arrival_ns,
        arrival_monotonic_ns=arrival_ns,
        decoded_monotonic_ns=arrival_ns,
    )


class FakeSession:
    """Keeps ids, nothing else."""

    def __init__(self, max_objects: int) -> None:
        self.max_objects = max_objects
        self.object_ids: tuple[int, ...] = ()
        self.closed = False

    def remove(self, object_id: int) -> None:
        if object_id not in self.object_ids:
            raise KeyError(object_id)
        self.object_ids = tuple(each for each in self.object_ids if each != object_id)

    def close(self) -> None:
        self.object_ids = ()
        self.closed = True


class FakeTracker:
    """Finds every object everywhere; refuses ids above 900; fails on pictures of one colour.

    Like the real one it refuses a bad prompt before it changes anything. ``held`` keeps steps
    from ending while it is clear, so that a test can fill the slots meanwhile.
    """

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.config = ModelConfig(name="fake")
        self.memory_bank_bytes = 4096
        self.batch_sizes: list[int] = []
        self.sessions: list[FakeSession] = []
        self.fatal: BaseException | None = None
        self.held = threading.Event()
        self.held.set()

    def open_session(self, max_objects: int | None = None) -> FakeSession:
        self.sessions.append(FakeSession(max_objects or 64))
        return self.sessions[-1]

    def step(
        self, batch: Sequence[tuple[FakeSession, np.ndarray, Sequence[Prompt]]]
    ) -> list[list[Track]]:
        if self.fatal is not None:
            raise self.fatal
        self.held.wait(20.0)
        for session, _, prompts in batch:
            for prompt in prompts:
                if prompt.object_id > 900:
                    raise PromptError(f"object {prompt.object_id} is refused")
            new = {prompt.object_id for prompt in prompts} - set(session.object_ids)
            if len(session.object_ids) + len(new) > session.max_objects:
                raise CapacityError("full")
        self.batch_sizes.append(len(batch))
        results = []
        for session, image, prompts in batch:
            new = [p.object_id for p in prompts if p.object_id not in session.object_ids]
            session.object_ids += tuple(new)
            if tuple(image[0, 0]) == FAILS:
                raise RuntimeError("this picture cannot be tracked")
            hidden = tuple(image[0, 0]) == HIDES
            results.append([track(object_id, image, hidden) for object_id in session.object_ids])
        return results


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
