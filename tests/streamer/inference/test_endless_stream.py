"""An endless stream: the daemon's state for it stays bounded as objects come and go."""

from __future__ import annotations

from collections import Counter

import psutil
import pytest

from streamer.inference.batch_step import BatchStep, StreamWork
from streamer.inference.box_smoothing import BoxSmoothing
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.lifecycle import LifecycleRules, ObjectLifecycle
from streamer.inference.prompts.recent_frames import RecentFrames
from streamer.inference.prompts.request import PromptRequest
from streamer.inference.stream_counts import StreamCounts
from streamer.inference.tracked_stream import TrackedStream
from streamer.runtime.clock import seconds_to_ns
from streamer.runtime.metrics import Metrics
from streamer.types import Frame, FrameResult, Published
from tests.streamer.fakes import HIDES, FakeClock, FakeTracker, picture
from tests.streamer.inference.rig import click

FRAMES = 21_000
LOOP = 700  # frames: 20 s are seen, 8 s are not
MEBIBYTE = 2**20


@pytest.mark.own_process  # what other tests hold or free would count here
@pytest.mark.timeout(300)
def test_twenty_thousand_frames_on_a_loop_leave_nothing_behind() -> None:
    clock, tracker, metrics = FakeClock(), FakeTracker(), Metrics()
    kinds: Counter[str] = Counter()
    shown: Counter[int] = Counter()

    def publish(item: Published) -> None:
        if isinstance(item, FrameResult):
            shown[len(item.objects)] += 1
        else:
            kinds[str(getattr(item, "kind", "status"))] += 1

    counts = StreamCounts("gate", metrics)
    rules = LifecycleRules(
        occluded_to_lost_ns=seconds_to_ns(2.0),
        occluded_after_frames=2,
        reacquired_after_frames=2,
        lost_to_removed_ns=seconds_to_ns(4.0),
        lost_search_every=5,
    )
    lifecycle = ObjectLifecycle(rules)
    stream = TrackedStream(
        tracker.open_session(max_objects=4, history_frames=30),  # type: ignore[arg-type]
        FrameSlot("gate", lambda: None, counts.dropped),
        counts,
        lifecycle,
        RecentFrames(seconds_to_ns(1.0)),
        publish=publish,
        metrics=metrics,
        clock=clock,
    )
    stream.smooth(BoxSmoothing(), 0.2)
    step = BatchStep(tracker, clock)  # type: ignore[arg-type]
    session = stream.session
    process = psutil.Process()
    memory_bytes = []
    for number in range(FRAMES):
        clock.advance(0.04)
        in_loop = number % LOOP
        if in_loop in (0, 100, 200):  # three new objects a round
            object_id = 3 * (number // LOOP) % 900 + in_loop // 100
            stream.prompts.queue(PromptRequest("gate", click(object_id), f"object {object_id}"))
        image = picture(number, colour=HIDES if in_loop >= 500 else (0, 0, 0))
        frame = Frame("gate", f"session {number // 6000}", number, image)
        requests = stream.prompts.due(frame.index)
        step.track([StreamWork(stream, frame, requests, session.object_ids)])
        tracker.batch_sizes.clear()
        assert len(lifecycle) == len(session.object_ids) <= 3
        assert len(stream._shown._labels) <= 3
        assert len(stream._shown._smooth_boxes) <= 3
        if number % 1000 == 999:
            memory_bytes.append(process.memory_info().rss)
    rounds = FRAMES // LOOP
    told = {kind: kinds[kind] for kind in ("added", "occluded", "lost", "removed", "reacquired")}
    assert told == {
        "added": 3 * rounds,
        "occluded": 3 * rounds,
        "lost": 3 * rounds,
        "removed": 3 * rounds,
        "reacquired": 0,
    }
    assert sum(shown.values()) == FRAMES
    assert session.object_ids == ()
    assert memory_bytes[-1] - memory_bytes[2] < 8 * MEBIBYTE, memory_bytes
