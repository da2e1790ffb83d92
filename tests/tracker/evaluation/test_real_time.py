"""Frames that arrive during a step are dropped, as on a live camera."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.tracker.evaluation.trackers import FakeSession, FirstMaskTracker
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.real_time import MeasuredPace, SimulatedPace
from tracker.evaluation.runner import evaluate_clip


def losses(pace: MeasuredPace, steps: list[float], rate_hz: float = 10.0) -> list[int]:
    pace.begin(rate_hz)
    return [pace.frames_lost(step) for step in steps]


def test_a_tracker_as_fast_as_the_camera_misses_nothing() -> None:
    assert losses(MeasuredPace(), [0.1, 0.05, 0.1]) == [0, 0, 0]


def test_a_step_of_three_and_a_half_periods_costs_two_frames_and_delays_the_next() -> None:
    # Begun at 0, done at 0.35: frames 1 and 2 have gone by, 3 is the newest. It begins late, at
    # 0.35; done at 0.70, frame 7 has just come: 4, 5 and 6 are lost.
    assert losses(MeasuredPace(), [0.35, 0.35, 0.05]) == [2, 3, 0]


def test_a_slightly_slow_tracker_is_late_first_and_then_loses_a_frame() -> None:
    assert losses(MeasuredPace(), [0.14] * 5) == [0, 0, 1, 0, 1]


def test_a_simulated_speed_does_not_depend_on_the_machine() -> None:
    pace = SimulatedPace(5.0)
    assert losses(pace, [0.0, 99.0, 0.0]) == [1, 1, 1]


def test_the_cameras_rate_can_be_given() -> None:
    assert losses(SimulatedPace(10.0, rate_hz=40.0), [0.0, 0.0], rate_hz=1.0) == [3, 3]
    with pytest.raises(ValueError, match="rate must be above 0, got 0"):
        MeasuredPace(rate_hz=0)
    with pytest.raises(ValueError, match="speed must be above 0 steps/s"):
        SimulatedPace(0)


class GapSession(FakeSession):
    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[int] = []

    def note_gap(self, frames: int) -> None:
        self.gaps.append(frames)


class CountingTracker(FirstMaskTracker):
    def open_session(self) -> GapSession:
        self.sessions.append(GapSession())
        return self.sessions[-1]


def moving_clip(missed_at: dict[int, int] | None = None) -> EvaluationClip:
    """Nine frames; the object steps aside after the third."""

    def frames() -> Iterator[ClipFrame]:
        for index in range(9):
            truth = np.zeros((20, 20), dtype=np.bool_)
            truth[5:10, 5 + 5 * (index >= 3) : 10 + 5 * (index >= 3)] = True
            yield ClipFrame(
                np.zeros((20, 20, 3), dtype=np.uint8),
                {1: truth},
                missed=(missed_at or {}).get(index, 0),
            )

    return EvaluationClip("a", "b", (1,), 9, frames, rate_hz=10.0)


def test_lost_frames_keep_the_previous_result_and_are_reported_to_the_session() -> None:
    tracker = CountingTracker()
    seen: list[int] = []
    score = evaluate_clip(
        tracker,
        moving_clip(),
        on_frame=lambda clip, index, frame, masks: seen.append(int(masks[1].sum())),
        pace=SimulatedPace(10.0 / 3),
    )
    # The first step is free; then every third frame: 0, 1, 4, 7.
    assert (score.frames, score.tracked_frames) == (9, 4)
    assert tracker.sessions[0].gaps == [2, 2]
    assert seen == [25] * 9


def test_frames_lost_in_transmission_are_reported_too() -> None:
    tracker = CountingTracker()
    evaluate_clip(tracker, moving_clip({4: 2, 6: 1}))
    assert tracker.sessions[0].gaps == [2, 1]
