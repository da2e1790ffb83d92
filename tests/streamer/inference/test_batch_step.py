"""One stream that submits each frame before the previous result is reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest

from streamer.inference.batch_step import BatchStep, StreamWork
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.lifecycle import LifecycleRules, ObjectLifecycle
from streamer.inference.prompts.recent_frames import RecentFrames
from streamer.inference.prompts.request import PromptRequest
from streamer.inference.stream_counts import StreamCounts
from streamer.inference.tracked_stream import TrackedStream
from streamer.runtime.clock import seconds_to_ns
from streamer.runtime.metrics import Metrics
from streamer.types import DecodedFrame, Frame, FrameResult, RgbPixels, StreamEvent
from tests.streamer.fakes import HIDES, FakeClock, FakeTracker, Journal, picture
from tests.streamer.inference.rig import click
from tests.tracker.little import little_picture, little_tracker
from tests.tracker.policy.test_robust_tracker import PLAIN
from tracker import RobustOptions

MEBIBYTE = 2**20
NOTHING = np.zeros((0, 0), np.bool_)


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

    def track(self, number: int, prompted: int | None = None, **appearance: object) -> None:
        self.track_picture(number, picture(number, **appearance), prompted)  # type: ignore[arg-type]

    def track_picture(self, number: int, shown: DecodedFrame, prompted: int | None) -> None:
        frame = Frame("gate", "session", number, shown)
        requests = [] if prompted is None else [PromptRequest("gate", click(prompted))]
        self.stream.about_to_track(frame)
        known = self.stream.session.object_ids
        self.batch_step.track([StreamWork(self.stream, frame, requests, known)])


@pytest.mark.parametrize("robust", [None, PLAIN], ids=["sam2", "robust"])
def test_a_real_tracker_reports_the_same_whether_its_steps_overlap_or_not(
    robust: RobustOptions | None,
) -> None:
    def tracked(overlaps: bool) -> tuple[list[FrameResult], list[StreamEvent]]:
        tracker = little_tracker(robust=robust, object_score_bias=1.0)
        rules = LifecycleRules(occluded_to_lost_ns=seconds_to_ns(0.1))
        steps = Steps(rules, tracker, overlaps=overlaps)
        for number in range(30):
            shown = replace(picture(number), pixels=RgbPixels(little_picture(number % 7)))
            steps.track_picture(number, shown, {0: 1, 5: 2, 12: 1}.get(number))
            if number == 20:
                steps.batch_step.finish()
                assert steps.stream.remove(2)
        steps.batch_step.finish()
        events = [replace(event, request_id=None) for event in steps.published.events()]
        return steps.published.results(), events

    (ours, our_events), (theirs, their_events) = tracked(True), tracked(False)
    assert our_events == their_events
    assert len(ours) == len(theirs) == 30
    for own, other in zip(ours, theirs, strict=True):
        assert own.frame.index == other.frame.index
        for mine, its in zip(own.objects, other.objects, strict=True):
            assert replace(mine.track, crop=NOTHING, logits=None) == replace(
                its.track, crop=NOTHING, logits=None
            )
            np.testing.assert_array_equal(mine.track.crop, its.track.crop)


def test_lost_objects_are_searched_for_as_often_as_without_overlap() -> None:
    steps = Steps(LifecycleRules(occluded_to_lost_ns=0, lost_search_every=4))
    steps.track(0, prompted=8)
    for number in range(1, 41):
        steps.track(number, colour=HIDES)
    steps.batch_step.finish()
    results = steps.published.results()
    assert [result.frame.index for result in results] == list(range(41))
    assert all(len(result.objects) == 1 for result in results)
    looked_for = [bool(searched) for searched in steps.tracker.searched]
    # It is lost from the second hidden frame on; known only after the third is submitted.
    assert looked_for[:4] == [True] * 4
    assert [sum(looked_for[first : first + 4]) for first in range(5, 41, 4)] == [1] * 9


@pytest.mark.own_process  # what other tests hold or free would count here
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
        assert steps.batch_step.is_tracking("gate")
        assert len(steps.stream.session.object_ids) <= 1
        if number % 1000 == 999:
            assert len(steps.published.results()) == 999 + (number > 999)
            steps.published.items.clear()
            resident.append(process.memory_info().rss)
    steps.batch_step.finish()
    assert steps.stream.session.object_ids == ()
    assert resident[-1] - resident[0] < 8 * MEBIBYTE, resident
