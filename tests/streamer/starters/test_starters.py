"""The starters of all streams: begun with the first frame, anew with other settings, ended."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from streamer.config.schema import MaskletConfig
from streamer.config.starters import StarterConfig
from streamer.config.streams import StreamConfig
from streamer.errors import ControlError, UnknownStreamError
from streamer.runtime.clock import SystemClock
from streamer.runtime.metrics import Metrics
from streamer.starters import detector_lock
from streamer.starters.detector import Detector
from streamer.starters.starters import Starters
from streamer.starters.stream_starter import DetectorStatus
from streamer.types import (
    Detection,
    Frame,
    FrameReference,
    FrameResult,
    ImageArray,
    StreamState,
    StreamStatus,
)
from tests.streamer.fakes import picture
from tests.streamer.sinks.zeromq.helpers import eventually
from tests.streamer.starters.test_stream_starter import FakeObjects


class Rig:
    def __init__(self, **streams: StreamConfig) -> None:
        self.streams = streams
        self.made: list[StarterConfig] = []
        config = MaskletConfig(streams=streams, starter=StarterConfig(kind="motion"))
        self.starters = Starters(
            config,
            streams=lambda: self.streams,
            objects=FakeObjects,
            metrics=Metrics(),
            clock=SystemClock(),
            make=self._make,
        )
        self.find: Detector = lambda _: []
        self.newest: ImageArray | None = None
        self._frames = 0

    def change(self, **settings: object) -> None:
        self.streams["gate"] = self.streams["gate"].changed(**settings)

    def _make(self, config: StarterConfig) -> Detector:
        self.made.append(config)
        return self.find

    async def frame(self, stream_id: str, session_id: str = "s") -> None:
        frame = Frame(stream_id, session_id, self._frames, picture(self._frames))
        item = FrameResult(frame, 0, 0, ())
        self.newest = frame.picture.pixels.rgb()
        self._frames += 1
        assert self.starters.wants(item)
        await self.starters.publish(item)


@asynccontextmanager
async def rig_of(**streams: StreamConfig) -> AsyncIterator[Rig]:
    rig = Rig(**streams)
    await rig.starters.start()
    try:
        yield rig
    finally:
        await rig.starters.close()
        await eventually(lambda: not starter_tasks())


def starter_tasks() -> list[str]:
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith("starter-")]


def stopped(stream_id: str) -> StreamStatus:
    return StreamStatus(stream_id, StreamState.STOPPED, 0, "rtsp://", session_id="s")


async def test_each_stream_has_its_own_or_the_usual_starter() -> None:
    fast = StarterConfig(kind="torchvision", rate_hz=30)
    async with rig_of(
        gate=StreamConfig(url="rtsp://camera/1"),
        yard=StreamConfig(url="rtsp://camera/1", starter=fast),
        hand=StreamConfig(url="rtsp://camera/1", starter=StarterConfig()),
    ) as rig:
        assert rig.starters.state("gate") is None
        for stream_id in ("gate", "yard", "hand", "gone"):
            await rig.frame(stream_id)
        await eventually(lambda: len(rig.made) == 2)
        assert {each.kind for each in rig.made} == {"motion", "torchvision"}
        states = {stream_id: rig.starters.state(stream_id) for stream_id in rig.streams}
        assert states["hand"] is None
        assert states["yard"] is not None
        assert states["yard"].kind == "torchvision"


async def test_other_settings_begin_it_anew_and_the_end_of_the_stream_ends_it() -> None:
    async with rig_of(gate=StreamConfig(url="rtsp://camera/1")) as rig:
        await rig.frame("gate")
        await eventually(lambda: len(rig.made) == 1)
        await rig.frame("gate")
        rig.change(starter=StarterConfig(kind="motion", rate_hz=9))
        await rig.frame("gate")
        await eventually(lambda: len(rig.made) == 2)
        rig.change(max_objects=3)
        await rig.frame("gate")
        await eventually(lambda: len(rig.made) == 3)
        assert rig.starters.wants(stopped("gate"))
        await rig.starters.publish(stopped("gate"))
        assert rig.starters.state("gate") is None


async def test_what_was_removed_stays_so_when_settings_change() -> None:
    """A starter that begins anew knows what was removed, and which objects are its own."""
    settings = StarterConfig(kind="motion", rate_hz=50, minimum_hits=1, keep_off_border=False)
    async with rig_of(gate=StreamConfig(url="rtsp://camera/1", starter=settings)) as rig:

        async def until_passes(count: int) -> None:
            async with asyncio.timeout(20):
                while True:
                    await rig.frame("gate")
                    await asyncio.sleep(0.01)
                    state = rig.starters.state("gate")
                    if state is not None and state.passes >= count:
                        return

        running = rig.starters._running
        await until_passes(2)
        known = running["gate"].policy.known
        known.left_alone.add((4, 4, 16, 20), None, time.monotonic_ns(), 10**12)
        known.own[7] = None
        rig.find = lambda _: [Detection((4, 4, 16, 20))]
        rig.change(max_objects=3)
        await until_passes(2)
        assert running["gate"].policy.known is known
        assert running["gate"].starter.state().started == 0
        rig.change(starter=settings.changed(rate_hz=40))
        await until_passes(2)
        assert running["gate"].starter.state().started == 0
        await rig.starters.publish(stopped("gate"))
        await rig.frame("gate", "another session")
        assert running["gate"].policy.known is not known


async def test_frame_that_was_in_a_step_when_its_stream_ended_begins_no_starter() -> None:
    async with rig_of(gate=StreamConfig(url="rtsp://camera/1")) as rig:
        await rig.frame("gate")
        await rig.starters.publish(stopped("gate"))
        await rig.frame("gate")  # the stream is removed once the tracker has released it
        assert rig.starters.state("gate") is None
        await rig.frame("gate", "another stream's of this name")
        assert rig.starters.state("gate") is not None


async def test_boxes_go_to_a_stream_that_takes_them_and_no_other() -> None:
    boxes = StarterConfig(kind="boxes")
    async with rig_of(
        gate=StreamConfig(url="rtsp://camera/1", starter=boxes),
        yard=StreamConfig(url="rtsp://camera/2"),
    ) as rig:
        offer, first = rig.starters.offer, FrameReference(frame_index=0)
        with pytest.raises(UnknownStreamError, match="streams here: gate, yard"):
            offer("none", first, [])
        with pytest.raises(ControlError, match="its starter.kind is motion, not boxes"):
            offer("yard", first, [])
        with pytest.raises(ControlError, match="no frame was tracked yet"):
            offer("gate", first, [])
        await rig.frame("gate")
        assert offer("gate", first, [])
        await eventually(lambda: rig.starters.state("gate").passes == 1)  # type: ignore[union-attr]


class Hanging:
    """A starter whose detection passes last until the test releases them."""

    def __init__(self, rig: Rig) -> None:
        self.go_on = threading.Event()
        self.begun: list[str] = []
        rig.find = self

    def __call__(self, _: ImageArray) -> list[Detection]:
        self.begun.append(threading.current_thread().name)
        self.go_on.wait(20)
        return []


def starter_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return sorted(name for name in names if name.startswith("starter-"))


async def test_starter_that_hangs_has_one_thread_however_often_its_settings_change() -> None:
    first = StarterConfig(kind="python", factory="a:b", timeout_s=0.1)
    hangs = [first.changed(rate_hz=20 + n) for n in range(5)]
    async with rig_of(gate=StreamConfig(url="rtsp://camera/1", starter=hangs[0])) as rig:
        hanging = Hanging(rig)
        await rig.frame("gate")
        await eventually(lambda: len(hanging.begun) == 1)
        for config in hangs[1:]:
            rig.change(starter=config)
            await rig.frame("gate")
            await asyncio.sleep(0)
        state = rig.starters.state
        await eventually(lambda: state("gate").status is DetectorStatus.STUCK)  # type: ignore[union-attr]
        assert "that this stream began with other settings" in str(state("gate").reason)  # type: ignore[union-attr]
        assert starter_threads() == ["starter-gate"]
        hanging.go_on.set()
        await eventually(lambda: state("gate").passes >= 1)  # type: ignore[union-attr]
        assert hanging.begun == ["starter-gate"] * 2


async def test_threads_that_were_left_hanging_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_lock, "PASSES_AT_ONCE", 2)
    async with rig_of(**{name: StreamConfig(url="rtsp://camera/1") for name in "abcd"}) as rig:
        hanging = Hanging(rig)
        for name in "abcd":
            await rig.frame(name)
            await rig.starters.publish(stopped(name))
            await rig.frame(name, "again")
        await eventually(lambda: len(hanging.begun) == 2)
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert len(starter_threads()) == 2
        hanging.go_on.set()
        await eventually(lambda: len(hanging.begun) >= 4)


async def test_streams_sharing_a_detector_take_turns_on_their_newest_frames() -> None:
    shared = StarterConfig(kind="torchvision", rate_hz=60)
    other = StarterConfig(kind="torchvision", rate_hz=60, device="cuda")
    async with rig_of(
        gate=StreamConfig(url="rtsp://camera/1", starter=shared),
        yard=StreamConfig(url="rtsp://camera/1", starter=shared),
        road=StreamConfig(url="rtsp://camera/1", starter=other),
    ) as rig:
        hanging = Hanging(rig)
        await rig.frame("gate")
        await eventually(lambda: hanging.begun == ["starter-gate"])
        for _ in range(3):
            await rig.frame("yard")
        newest = rig.newest
        await rig.frame("road")
        await eventually(lambda: len(hanging.begun) == 2)
        assert starter_threads() == ["starter-gate", "starter-road"]
        images: list[ImageArray] = []
        rig.find = lambda image: images.append(image) or []  # type: ignore[func-returns-value]
        hanging.go_on.set()
        await eventually(lambda: images)
        assert np.shares_memory(images[0], newest)


async def test_detector_that_many_share_is_busy_and_not_stuck() -> None:
    """Every pass is quick, but each waits for its turn longer than a pass may take."""
    shared = StarterConfig(kind="torchvision", rate_hz=60, timeout_s=1.0)
    names = [f"cam{number}" for number in range(8)]
    stream = StreamConfig(url="rtsp://camera/1", starter=shared)
    async with rig_of(**dict.fromkeys(names, stream)) as rig:
        begun: list[str] = []

        def find(_: ImageArray) -> list[Detection]:
            begun.append(threading.current_thread().name)
            time.sleep(0.2)
            return []

        rig.find = find
        standings = set()
        while len(set(begun)) < len(names):
            for name in names:
                await rig.frame(name)
                state = rig.starters.state(name)
                assert state is not None
                standings.add(state.status)
            await asyncio.sleep(0.01)
        assert standings <= {DetectorStatus.WAITING, DetectorStatus.LOOKING}
        assert begun[:8] == [f"starter-{name}" for name in names]
