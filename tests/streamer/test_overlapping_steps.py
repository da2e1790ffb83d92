"""Where the tracker works beside the host, results are told while the next step is on its way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from streamer.batch_step import BatchStep, StreamWork
from streamer.frame_slot import FrameSlot
from streamer.lifecycle import LifecycleRules, ObjectLifecycle
from streamer.metrics import Metrics
from streamer.prompts import PromptRequest
from streamer.recent_frames import RecentFrames
from streamer.stream_counts import StreamCounts
from streamer.timing import seconds_to_ns
from streamer.tracked_stream import TrackedStream
from streamer.types import DecodedFrame, Frame, FrameResult, StreamEvent
from tests.conftest import eventually
from tests.streamer.fakes import HIDES, FakeClock, FakeTracker, Journal, picture
from tests.streamer.inference_rig import Rig, click, outcome, running
from tests.tracker.little import little_picture, little_tracker
from tests.tracker.policy.test_robust_tracker import PLAIN
from tracker import RobustOptions

MEBIBYTE = 2**20
NOTHING = np.zeros((0, 0), np.bool_)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with running(Rig(overlaps=True)) as made:
        yield made


class Steps:
    """One stream, every frame of which is there when the step before is submitted."""

    def __init__(
        self, rules: LifecycleRules, tracker: Any = None, *, overlaps: bool = True
    ) -> None:
        self.tracker = tracker or FakeTracker()
        self.tracker.overlaps = overlaps
        self.published = Journal()
        metrics, clock = Metrics(), FakeClock()
        counts = StreamCounts("gate", metrics)
        self.stream = TrackedStream(
            self.tracker.open_session(max_objects=4),
            FrameSlot("gate", lambda: None, counts.dropped),
            counts,
            ObjectLifecycle(rules),
            RecentFrames(seconds_to_ns(1.0)),
            publish=self.published,
            metrics=metrics,
            clock=clock,
        )
        self.batch_step = BatchStep(self.tracker, clock)

    def track(self, number: int, prompted: int | None = None, **look: object) -> None:
        self.track_picture(number, picture(number, **look), prompted)  # type: ignore[arg-type]

    def track_picture(self, number: int, shown: DecodedFrame, prompted: int | None) -> None:
        frame = Frame("gate", "session", number, shown)
        requests = [] if prompted is None else [PromptRequest("gate", click(prompted))]
        self.stream.about_to_track(frame)
        known = self.stream.session.object_ids
        self.batch_step.track([StreamWork(self.stream, frame, requests, known)])


def put(rig: Rig, stream_id: str, number: int, **look: object) -> None:
    """Put a picture and wait until the thread has taken it."""
    rig.slots[stream_id].put(picture(number, **look), "session", 0)  # type: ignore[arg-type]
    eventually(lambda: rig.slots[stream_id].waiting_since_monotonic_ns is None)


def held_then(rig: Rig, *streams: tuple[str, int]) -> None:
    """Let these frames wait while the thread is in another step, so that steps overlap."""
    rig.tracker.held.clear()
    first, *others = streams
    put(rig, *first)
    for stream_id, number in others:
        rig.slots[stream_id].put(picture(number), "session", 0)
    rig.tracker.held.set()


def indexes(rig: Rig, stream_id: str) -> list[int]:
    return [result.frame.index for result in rig.published.results(stream_id)]


def test_next_step_is_submitted_before_the_one_before_is_told(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 0), ("gate", 1))
    eventually(lambda: rig.tracker.submitted == 2)
    assert rig.published.results() == []
    rig.tracker.landed.set()
    eventually(lambda: len(rig.published.results()) == 2)
    assert indexes(rig, "gate") == [0, 1]
    assert rig.tracker.most_on_their_way == 2


def test_step_that_nothing_waits_behind_is_told_at_once(rig: Rig) -> None:
    rig.stream("gate")
    for number in range(5):
        assert rig.frame("gate", number) is not None
    assert rig.tracker.most_on_their_way == 1


def test_results_of_every_stream_come_in_the_order_of_its_frames(rig: Rig) -> None:
    first = {"gate": 2, "yard": 1, "hall": 1}
    for stream_id in first:
        rig.stream(stream_id)
    held_then(rig, ("gate", 0), ("gate", 1), ("yard", 0), ("hall", 0))
    stop = threading.Event()

    def feed(stream_id: str) -> None:
        for number in range(first[stream_id], 60):
            rig.slots[stream_id].wait_until_taken(stop)
            rig.slots[stream_id].put(picture(number), "session", 0)

    threads = [threading.Thread(target=feed, args=(each,)) for each in first]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for stream_id in first:
        eventually(lambda: len(indexes(rig, stream_id)) == 60)  # noqa: B023
        assert indexes(rig, stream_id) == list(range(60))
    assert rig.tracker.most_on_their_way == 2
    for result in rig.published.results():
        assert result.started_monotonic_ns <= result.tracked_monotonic_ns


def test_times_of_a_result_are_when_its_step_was_submitted_and_when_it_landed() -> None:
    clock = FakeClock()
    with running(Rig(clock, overlaps=True)) as rig:
        rig.stream("gate")
        rig.tracker.landed.clear()
        held_then(rig, ("gate", 0), ("gate", 1))
        eventually(lambda: rig.tracker.submitted == 2)
        submitted_ns = clock.now_ns
        clock.advance(0.5)
        rig.tracker.landed.set()
        eventually(lambda: len(rig.published.results()) == 2)
    for result in rig.published.results():
        assert result.started_monotonic_ns <= submitted_ns
        assert result.tracked_monotonic_ns >= submitted_ns + seconds_to_ns(0.5)
    assert rig.value("stage_duration_seconds_sum", stage="track") >= 2 * 0.5


def test_command_finds_the_stream_as_after_all_its_steps(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    rig.frame("gate", 0)
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 1), ("gate", 2))
    eventually(lambda: rig.tracker.submitted == 3)
    removed = rig.inference.remove_object("gate", 7)
    kept = rig.inference.remembered_objects("gate")
    rig.tracker.landed.set()
    assert removed.result(20) is True
    assert kept.result(20) == []
    assert indexes(rig, "gate") == [0, 1, 2]
    told = [type(item).__name__ for item in rig.published.items]
    assert told[-1] == "StreamEvent"  # removed after the results of all steps
    assert len(rig.published.results()[-1].objects) == 1


def test_prompt_is_applied_after_the_step_before_was_told(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 0), ("gate", 1))
    eventually(lambda: rig.tracker.submitted == 2)
    rig.slots["gate"].put(picture(2), "session", 0)
    request = rig.prompt("gate", 7)
    rig.tracker.landed.set()
    assert outcome(request).frame_index == 2
    eventually(lambda: len(rig.published.results()) == 3)
    assert [len(result.objects) for result in rig.published.results()] == [0, 0, 1]


def test_prompt_for_a_frame_that_has_passed_finds_it_told(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 0), ("gate", 1))
    eventually(lambda: rig.tracker.submitted == 2)
    request = rig.prompt("gate", 7, preview=True)
    rig.tracker.landed.set()
    assert outcome(request).frame_index == 1


def test_lossless_stream_is_not_stepped_before_its_result_is_out(rig: Rig) -> None:
    """A second result would take the place of the first one in a sink that is slow."""
    rig.stream("file")
    stop = threading.Event()
    rig.tracker.held.clear()
    slot = rig.slots["file"]
    for number in range(2):
        slot.put_when_taken(picture(number), "session", lambda: 0, stop)
        if number == 0:
            eventually(lambda: slot.waiting_since_monotonic_ns is None)
    rig.tracker.landed.clear()
    rig.tracker.held.set()
    eventually(lambda: rig.tracker.submitted == 1)
    rig.tracker.landed.set()
    eventually(lambda: len(rig.published.results()) == 2)
    assert rig.tracker.most_on_their_way == 1


def test_removal_of_what_was_lost_too_long_leaves_nothing_of_it_in_the_next_result() -> None:
    """It is decided while the next step, which looked for the object, is on its way."""
    rules = LifecycleRules(occluded_to_lost_ns=0, lost_to_removed_ns=0)
    with running(Rig(rules=rules, overlaps=True)) as rig:
        rig.stream("gate")
        rig.prompt("gate", 7)
        rig.frame("gate", 0)
        rig.frame("gate", 1, colour=HIDES)
        rig.frame("gate", 2, colour=HIDES)
        rig.tracker.landed.clear()
        rig.tracker.held.clear()
        put(rig, "gate", 3, colour=HIDES)
        rig.slots["gate"].put(picture(4), "session", 0)
        rig.tracker.held.set()
        eventually(lambda: rig.tracker.submitted == 5)
        rig.tracker.landed.set()
        eventually(lambda: len(rig.published.results()) == 5)
        kinds = rig.published.event_kinds()
        assert kinds.count("added") == kinds.count("removed") == 1
        assert [len(result.objects) for result in rig.published.results()] == [1, 1, 1, 0, 0]
        assert rig.inference.objects("gate") == []


@pytest.mark.parametrize("robust", [None, PLAIN], ids=["sam2", "robust"])
def test_a_real_tracker_tells_the_same_whether_its_steps_overlap_or_not(
    robust: RobustOptions | None,
) -> None:
    def told(overlaps: bool) -> tuple[list[FrameResult], list[StreamEvent]]:
        tracker = little_tracker(robust=robust, object_score_bias=1.0)
        rules = LifecycleRules(occluded_to_lost_ns=seconds_to_ns(0.1))
        steps = Steps(rules, tracker, overlaps=overlaps)
        for number in range(30):
            shown = replace(picture(number), pixels=little_picture(number % 7))
            steps.track_picture(number, shown, {0: 1, 5: 2, 12: 1}.get(number))
            if number == 20:
                steps.batch_step.finish()
                assert steps.stream.remove(2)
        steps.batch_step.finish()
        events = [replace(event, request_id=None) for event in steps.published.events()]
        return steps.published.results(), events

    (ours, our_events), (theirs, their_events) = told(True), told(False)
    assert our_events == their_events
    assert len(ours) == len(theirs) == 30
    for own, other in zip(ours, theirs, strict=True):
        assert own.frame.index == other.frame.index
        for mine, its in zip(own.objects, other.objects, strict=True):
            assert replace(mine.track, crop=NOTHING, logits=None) == replace(
                its.track, crop=NOTHING, logits=None
            )
            np.testing.assert_array_equal(mine.track.crop, its.track.crop)


def test_lost_objects_are_looked_for_as_often_as_without_overlap() -> None:
    steps = Steps(LifecycleRules(occluded_to_lost_ns=0, lost_search_every=4))
    steps.track(0, prompted=8)
    for number in range(1, 41):
        steps.track(number, colour=HIDES)
    steps.batch_step.finish()
    results = steps.published.results()
    assert [result.frame.index for result in results] == list(range(41))
    assert all(len(result.objects) == 1 for result in results)
    looked_for = [bool(searched) for searched in steps.tracker.searched]
    # It is lost from the second hidden frame on, and that is known when the third is on its way.
    assert looked_for[:4] == [True] * 4
    assert [sum(looked_for[first : first + 4]) for first in range(5, 41, 4)] == [1] * 9


@pytest.mark.parametrize("next_is_there", [False, True])
def test_step_that_fails_late_is_given_again_stream_by_stream(
    rig: Rig, next_is_there: bool
) -> None:
    rig.stream("gate")
    rig.stream("yard")
    rig.prompt("gate", 7)
    rig.frame("gate", 0)
    rig.frame("yard", 0)
    # The step of both, and then that of one of them alone.
    rig.tracker.failing_late += [RuntimeError("no memory left")] * 2
    rig.tracker.held.clear()
    rig.stream("blocker")
    rig.slots["blocker"].put(picture(), "session", 0)
    eventually(lambda: rig.slots["blocker"].waiting_since_monotonic_ns is None)
    rig.tracker.held.set()
    for number in range(1, 4 if next_is_there else 2):
        for stream_id in ("gate", "yard"):
            rig.slots[stream_id].put(picture(number), "session", 0)
    eventually(lambda: rig.failed("gate") + rig.failed("yard") + rig.failed("blocker") >= 1)
    for stream_id in ("gate", "yard"):
        result = rig.frame(stream_id, 9)
        assert result is not None
        assert indexes(rig, stream_id) == sorted(set(indexes(rig, stream_id)))
        assert len(result.objects) == (stream_id == "gate")
    assert rig.failed("gate") + rig.failed("yard") + rig.failed("blocker") == 1


def test_frames_behind_a_step_that_failed_are_tracked_after_it(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.failing_late.append(RuntimeError("no memory left"))
    held_then(rig, ("gate", 0), ("gate", 1))
    eventually(lambda: len(rig.published.results()) == 2)
    assert indexes(rig, "gate") == [0, 1]
    assert rig.failed("gate") == 0
    assert rig.published.events() == []


def test_device_that_is_gone_while_a_step_is_on_its_way_ends_the_thread(rig: Rig) -> None:
    rig.stream("gate")
    request = PromptRequest("gate", click(1))
    rig.inference.prompt(request)
    rig.tracker.failing_late.append(torch.AcceleratorError("the device is gone"))
    rig.slots["gate"].put(picture(), "session", 0)
    eventually(lambda: rig.error is not None)
    assert isinstance(rig.error, torch.AcceleratorError)
    told = outcome(request)
    assert not told.applied
    assert told.reason == "the stream was removed (shutdown)"
    assert rig.tracker.sessions[0].closed


def test_end_waits_for_the_step_on_its_way_and_tells_it(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    rig.frame("gate", 0)
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 1), ("gate", 2))
    eventually(lambda: rig.tracker.submitted == 3)
    rig.inference.stop()
    rig.tracker.landed.set()
    rig.thread.join(20)
    assert not rig.thread.is_alive()
    assert indexes(rig, "gate") == [0, 1, 2]
    assert rig.published.event_kinds()[-1] == "removed"


def test_thousands_of_overlapping_steps_leave_nothing_behind() -> None:
    steps = Steps(LifecycleRules(seconds_to_ns(1.0), lost_to_removed_ns=seconds_to_ns(1.0)))
    process, resident = psutil.Process(), []
    for number in range(4000):
        in_round = number % 100  # seen for 30 frames, then hidden until it is removed
        steps.track(
            number,
            prompted=number // 100 if in_round == 0 else None,
            colour=HIDES if in_round >= 30 else (0, 0, 0),
        )
        steps.tracker.batch_sizes.clear()
        assert len(steps.batch_step._on_their_way) == 1
        assert len(steps.stream.session.object_ids) <= 1
        if number % 1000 == 999:
            assert len(steps.published.results()) == 999 + (number > 999)
            steps.published.items.clear()
            resident.append(process.memory_info().rss)
    steps.batch_step.finish()
    assert steps.stream.session.object_ids == ()
    assert resident[-1] - resident[0] < 8 * MEBIBYTE, resident
