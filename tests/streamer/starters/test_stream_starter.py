"""A stream's starter: a failing starter affects no other stream; prompts reach their stream."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from streamer.config.starters import StarterConfig
from streamer.errors import (
    BusyError,
    ConfigError,
    DetectorNotReady,
    StarterError,
    UnknownStreamError,
)
from streamer.inference.prompts.request import PromptOutcome
from streamer.runtime.clock import SystemClock
from streamer.runtime.metrics import Metrics
from streamer.starters import stream_starter
from streamer.starters.detection_passes import PicturePasses
from streamer.starters.detector import Detector
from streamer.starters.detector_lock import DetectorLock
from streamer.starters.policy import StartPolicy
from streamer.starters.stream_starter import DetectorStatus, StreamStarter
from streamer.types import (
    Detection,
    Frame,
    FrameReference,
    FrameResult,
    ObjectResult,
    ObjectSummary,
)
from tests.streamer.fakes import picture
from tests.streamer.sinks.zeromq.helpers import eventually
from tests.streamer.starters.things import followed
from tracker.types import Prompt, TrackState

BOX = (4.0, 4.0, 16.0, 20.0)
THERE = Detection(BOX, 0.9, "dog")
Image = np.ndarray


class FakeObjects:
    """Applies every prompt at once: the mask is exactly the box, or the one the test sets."""

    def __init__(self) -> None:
        self.prompts: list[tuple[Prompt, str | None, FrameReference | None]] = []
        self.removed: list[int] = []
        self.held: list[FrameReference] = []
        self.found: tuple[int, int, int, int] | None = (4, 4, 16, 20)
        self.error: BusyError | None = None
        self.is_gone = False
        self.applied = True
        self.gone: set[int] = set()
        self._next = 1

    def of(self, stream_id: str) -> list[ObjectSummary]:
        summary = ObjectSummary(0, None, None, TrackState.LOST, (0, 0, 0, 0), 0, 0.0, 0.0, 0)
        return [replace(summary, object_id=each) for each in {*range(1, 9)} - self.gone]

    def next_id(self, stream_id: str) -> int:
        if self.is_gone:
            raise UnknownStreamError(f"there is no stream {stream_id!r}; streams here: none")
        return self._next

    async def prompt(
        self,
        stream_id: str,
        prompt: Prompt,
        label: str | None = None,
        *,
        reference: FrameReference | None = None,
    ) -> PromptOutcome:
        self._next = max(self._next, prompt.object_id + 1)
        self.prompts.append((prompt, label, reference))
        if self.error is not None:
            raise self.error
        await asyncio.sleep(0)
        index = reference.frame_index if reference else None
        return PromptOutcome(
            request_id="r",
            stream_id=stream_id,
            object_id=prompt.object_id,
            applied=self.applied,
            reason=None if self.applied else "full",
            frame_index=index,
            track=followed(prompt.object_id, self.found).track,
            latest_frame_index=index,
        )

    def hold(self, stream_id: str, reference: FrameReference) -> None:
        self.held.append(reference)

    async def remove(self, stream_id: str, object_id: int) -> None:
        self.removed.append(object_id)


class Rig:
    """A starter that is shown frames as fast as it takes them."""

    def __init__(self, starter: Callable[[Image], Sequence[Detection]], **settings: object) -> None:
        config = StarterConfig(
            kind="python",
            factory="a:b",
            **{"minimum_hits": 1, "minimum_area": 0.0, "rate_hz": 50.0, **settings},  # type: ignore[arg-type]
        )
        self.made = 0
        self.objects = FakeObjects()
        self.metrics = Metrics()

        def make() -> Detector:
            self.made += 1
            return starter

        self.starter = StreamStarter(
            "gate",
            config,
            PicturePasses(make, config.rate_hz or 1.0),
            StartPolicy(config, 16, False),
            lock=DetectorLock(),
            objects=self.objects,
            metrics=self.metrics,
            clock=SystemClock(),
            random=Random(0),
        )
        self.live: tuple[ObjectResult, ...] = ()
        self.frames = 0

    def show(self, larger: int = 1) -> None:
        shown = picture(self.frames, width=32 * larger, height=24 * larger)
        shown = replace(shown, arrival_monotonic_ns=self.frames * 10**8)
        frame = Frame("gate", "session", self.frames, shown)
        self.starter.see(FrameResult(frame, 0, 0, self.live))
        self.frames += 1

    def count(self, metric: str, **labels: str) -> float:
        labels["stream"] = "gate"
        return self.metrics.registry.get_sample_value(f"masklet_{metric}", labels) or 0.0

    def passes(self, result: str) -> float:
        return self.count("starter_looks_total", result=result)

    def verdict(self, verdict: str) -> float:
        return self.count("starter_detections_total", verdict=verdict)

    async def until(self, condition: Callable[[], object]) -> None:
        def shown() -> object:
            self.show()
            return condition()

        await eventually(shown)


@asynccontextmanager
async def at_work(rig: Rig) -> AsyncIterator[Rig]:
    task = asyncio.create_task(rig.starter.run())
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_starter, "REJECTED_WAIT_S", 0.01)
    quick = stream_starter._BACKOFF.changed(initial_s=0.05, maximum_s=0.05)
    monkeypatch.setattr(stream_starter, "_BACKOFF", quick)


async def test_detection_is_prompted_on_the_frame_it_was_found_in() -> None:
    called = threading.Event()

    def starter(image: Image) -> list[Detection]:
        assert not image.flags.writeable
        if called.is_set():
            return []
        called.set()
        return [THERE]

    async with at_work(Rig(starter, label="thing")) as rig:
        rig.show()
        await eventually(lambda: rig.objects.prompts)
        ((prompt, label, reference),) = rig.objects.prompts
        assert (prompt.object_id, prompt.box_xyxy, label) == (1, BOX, "dog")
        assert reference == FrameReference(frame_index=0, session_id="session")
        assert rig.objects.held[0] == reference  # however long the pass takes
        await eventually(lambda: rig.starter.state().started)
        state = rig.starter.state()
        assert (state.kind, state.status, state.object_ids) == ("python", "looking", (1,))
        assert rig.verdict("started") == 1


async def test_decoder_planes_are_converted_in_the_detection_thread() -> None:
    class Planes:
        width, height = 32, 24
        made_in: tuple[str, ...] = ()

        def rgb(self) -> Image:
            self.made_in += (threading.current_thread().name,)
            return np.zeros((24, 32, 3), np.uint8)

    planes = Planes()
    rig = Rig(lambda _: [THERE])
    async with at_work(rig):
        shown = replace(picture(0), pixels=planes)  # type: ignore[arg-type]
        rig.starter.see(FrameResult(Frame("gate", "session", 0, shown), 0, 0, ()))
        await eventually(lambda: rig.objects.prompts)
    assert planes.made_in == ("starter-gate",)


async def test_several_things_get_ids_of_their_own_and_masks_are_prompted_as_masks() -> None:
    crop = np.tri(16, 12, dtype=np.bool_)
    things = [Detection(BOX, crop=crop), Detection((20.0, 2.0, 30.0, 22.0))]
    async with at_work(Rig(lambda _: things, label="thing")) as rig:
        rig.show()
        await eventually(lambda: len(rig.objects.prompts) == 2)
        first, second = (prompt for prompt, _, _ in rig.objects.prompts)
        assert {first.object_id, second.object_id} == {1, 2}
        assert [label for _, label, _ in rig.objects.prompts] == ["thing", "thing"]
        assert first.mask is not None
        assert first.mask.shape == (24, 32)
        assert np.array_equal(first.mask[4:20, 4:16], crop)
        assert second.box_xyxy == (20.0, 2.0, 30.0, 22.0)


async def test_earlier_frames_are_skipped_after_a_start() -> None:
    async with at_work(Rig(lambda _: [THERE])) as rig:
        rig.frames = 10
        rig.show()
        await eventually(lambda: rig.starter.state().started == 1)
        rig.frames = 8
        passes_before = rig.passes("looked")
        rig.show()
        rig.show()
        rig.show()
        await asyncio.sleep(0.1)
        assert rig.passes("looked") == passes_before
        rig.live = (followed(1, (4, 4, 16, 20)),)
        await rig.until(lambda: rig.verdict("followed") >= 1)
        assert len(rig.objects.prompts) == 1


@pytest.mark.parametrize("removed", [False, True])
async def test_lost_object_removed_during_a_pass_stays_removed(removed: bool) -> None:
    detecting, go_on = threading.Event(), threading.Event()

    def starter(_: Image) -> list[Detection]:
        if not rig.live or rig.live[0].track.area:
            return []
        detecting.set()
        go_on.wait(10)
        return [THERE]

    async with at_work(Rig(starter, lost_wait_s=0.0)) as rig:
        rig.live = (followed(7, (4, 4, 16, 20), "dog"),)
        await rig.until(lambda: rig.passes("looked") >= 1)
        rig.live = (followed(7, None, "dog"),)
        await rig.until(detecting.is_set)
        if removed:
            rig.objects.gone.add(7)
        go_on.set()
        passes_before = rig.passes("looked")
        await eventually(lambda: rig.passes("looked") > passes_before)
        await eventually(lambda: removed or rig.objects.prompts)
        assert [prompt.object_id for prompt, _, _ in rig.objects.prompts] == [7] * (not removed)


@pytest.mark.parametrize("larger", [1, 3])
async def test_object_added_during_a_pass_is_not_started_again(larger: int) -> None:
    """Also if pictures have since become larger than the one of the pass."""
    detecting, go_on = threading.Event(), threading.Event()

    def starter(_: Image) -> list[Detection]:
        if detecting.is_set():
            return []
        detecting.set()
        go_on.wait(10)
        return [THERE]

    async with at_work(Rig(starter)) as rig:
        rig.show()
        await eventually(detecting.is_set)
        x0, y0, x1, y1 = (larger * each for each in (4, 4, 16, 20))
        rig.live = (followed(7, (x0, y0, x1, y1)),)  # it was clicked on meanwhile
        rig.show(larger)
        go_on.set()
        await eventually(lambda: rig.verdict("followed") >= 1)
        assert rig.objects.prompts == []


async def test_what_the_tracker_takes_for_something_else_is_removed_at_once() -> None:
    for found in ((20, 0, 30, 9), None):
        async with at_work(Rig(lambda _: [THERE])) as rig:
            rig.objects.found = found
            await rig.until(lambda: rig.objects.removed == [1])
            assert rig.verdict("unclear") == 1
            await rig.until(lambda: rig.verdict("left_alone") >= 2)
            assert len(rig.objects.prompts) == 1


async def test_refused_prompt_is_counted_and_tried_again() -> None:
    async with at_work(Rig(lambda _: [THERE])) as rig:
        rig.objects.applied = False
        await rig.until(lambda: rig.verdict("rejected") >= 1)
        rig.objects.error = BusyError("busy")
        await rig.until(lambda: rig.verdict("rejected") >= 2)
        rig.objects.error, rig.objects.applied = None, True
        await rig.until(lambda: rig.starter.state().started == 1)


async def test_starter_that_raises_is_reported_once_and_made_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raises = threading.Event()
    raises.set()

    def starter(_: Image) -> list[Detection]:
        if raises.is_set():
            raise ZeroDivisionError("a mistake of somebody's")
        return []

    async with at_work(Rig(starter)) as rig:
        await rig.until(lambda: rig.passes("failed") >= 3)
        state = rig.starter.state()
        assert state.status is DetectorStatus.FAILING
        assert state.reason == "ZeroDivisionError: a mistake of somebody's"
        assert rig.made >= 3
        warnings = [each for each in caplog.records if "starts nothing" in each.getMessage()]
        assert len(warnings) == 1
        raises.clear()
        await rig.until(lambda: rig.starter.state().status is DetectorStatus.LOOKING)
        assert rig.starter.state().reason is None


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (None, "must return a list of Detection, got NoneType"),
        ([(1, 2, 3, 4)], "detection 0 is tuple, not a Detection"),
        ([Detection((0, 0, float("nan"), 1))], "must be four finite numbers"),
        ([Detection(BOX, score=1.5)], "its score must be 0 to 1"),
        ([Detection(BOX, label="a\nb")], "none of them a control character"),
        ([Detection(BOX, crop=np.ones((2, 2), np.bool_))], "a mask fills its box"),
    ],
)
async def test_nonsense_is_refused_in_words(returned: object, reason: str) -> None:
    async with at_work(Rig(lambda _: returned)) as rig:  # type: ignore[arg-type,return-value]
        await rig.until(lambda: rig.passes("failed") >= 1)
        assert reason in str(rig.starter.state().reason)
        assert rig.objects.prompts == []


async def test_what_lies_outside_the_picture_is_cut_or_left_out() -> None:
    things = [
        Detection((-8, 4, 16, 20), crop=np.ones((16, 24), np.bool_)),
        Detection((100, 100, 120, 120)),
    ]
    async with at_work(Rig(lambda _: things)) as rig:
        await rig.until(lambda: rig.objects.prompts)
        ((prompt, _, _),) = rig.objects.prompts
        assert prompt.mask is not None
        assert prompt.mask.sum() == 16 * 16


async def test_paused_starter_reports_why_and_is_not_recreated() -> None:
    def starter(_: Image) -> list[Detection]:
        raise DetectorNotReady("the camera moves")

    async with at_work(Rig(starter)) as rig:
        await rig.until(lambda: rig.passes("standing_still") >= 3)
        state = rig.starter.state()
        assert (state.status, state.reason) == ("standing_still", "the camera moves")
        assert rig.made == 1


async def test_starter_that_does_not_return_is_stuck_and_has_one_thread() -> None:
    go_on = threading.Event()

    def starter(_: Image) -> list[Detection]:
        go_on.wait(20)
        return []

    async with at_work(Rig(starter, timeout_s=0.1)) as rig:
        await rig.until(lambda: rig.starter.state().status is DetectorStatus.STUCK)
        for _ in range(20):
            rig.show()
            await asyncio.sleep(0.01)
        threads = [each for each in threading.enumerate() if each.name == "starter-gate"]
        assert len(threads) == 1
        assert rig.passes("timeout") == 1
        go_on.set()
        await rig.until(lambda: rig.starter.state().status is DetectorStatus.LOOKING)


@pytest.mark.parametrize("kind", [StarterError, ConfigError])
async def test_model_that_does_not_load_is_tried_again_with_its_advice(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> Detector:
        raise kind("run `masklet checkpoints pull x`")

    rig = Rig(lambda _: [])
    rig.starter._passes = PicturePasses(make, 50.0)
    async with at_work(rig):
        await rig.until(lambda: rig.passes("failed") >= 2)
        assert rig.starter.state().reason == "run `masklet checkpoints pull x`"
        assert all(each.exc_info is None for each in caplog.records)


async def test_pass_that_fails_after_the_end_is_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    detecting, go_on = threading.Event(), threading.Event()

    def starter(_: Image) -> list[Detection]:
        detecting.set()
        go_on.wait(10)
        raise DetectorNotReady("too late")

    async with at_work(Rig(starter)) as rig:
        rig.show()
        await eventually(detecting.is_set)
    go_on.set()
    await eventually(lambda: all(each.name != "starter-gate" for each in threading.enumerate()))
    await asyncio.sleep(0)
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_removing_a_stream_during_a_pass_is_no_error() -> None:
    async with at_work(Rig(lambda _: [THERE])) as rig:
        rig.objects.is_gone = True
        await rig.until(lambda: rig.verdict("rejected"))
        assert not rig.objects.prompts
        rig.objects.is_gone = False  # it is at work still
        await rig.until(lambda: rig.verdict("started"))
