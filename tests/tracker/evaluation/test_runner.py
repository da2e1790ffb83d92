"""Scoring: trackers of known quality are ranked correctly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.tracker.evaluation.trackers import (
    BlindTracker,
    FakeSession,
    FakeTracker,
    FirstMaskTracker,
    PerfectTracker,
)
from tracker.evaluation.absence import seen_again
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.runner import evaluate_clip, evaluate_suite
from tracker.evaluation.summary import summarise
from tracker.evaluation.synthetic import Window, open_scene
from tracker.types import Track


def clip_of(category: str, seed: int, objects: tuple[int, ...], count: int = 12) -> EvaluationClip:
    def frames() -> Iterator[ClipFrame]:
        scene = open_scene(Window(category, seed, 0, count, objects), 160, 90)
        for index in range(count):
            masks = scene.render(index).masks
            yield ClipFrame(scene.render(index).image, {key: masks[key] for key in objects})

    return EvaluationClip(str(seed), category, objects, count, frames)


@pytest.fixture(scope="module")
def clips() -> list[EvaluationClip]:
    return [clip_of("crossing", 10_005, (1, 2, 8)), clip_of("shapes", 10_001, (1,))]


def test_better_trackers_score_higher(clips: list[EvaluationClip]) -> None:
    perfect = evaluate_suite(PerfectTracker(clips), clips)
    first = evaluate_suite(FirstMaskTracker(), clips)
    blind = evaluate_suite(BlindTracker(), clips)
    for best, still, nothing in zip(perfect, first, blind, strict=True):
        for a, b, c in zip(best.objects, still.objects, nothing.objects, strict=True):
            assert a.mean == 1.0
            assert 0.0 < b.mean < 1.0
            assert c.mean == 0.0
    assert [score.category for score in perfect] == ["crossing", "shapes"]


def test_every_object_is_prompted_once_on_the_first_frame(clips: list[EvaluationClip]) -> None:
    tracker = FirstMaskTracker()
    evaluate_clip(tracker, clips[0], "box")
    assert [prompt.object_id for prompt in tracker.prompts] == [1, 2, 8]
    assert all(prompt.box_xyxy is not None for prompt in tracker.prompts)


def test_sessions_are_closed(clips: list[EvaluationClip]) -> None:
    tracker = BlindTracker()
    evaluate_suite(tracker, clips)
    assert [session.closed for session in tracker.sessions] == [True, True]


def test_first_and_last_frame_are_not_scored() -> None:
    square = np.zeros((20, 20), dtype=np.bool_)
    square[5:10, 5:10] = True
    other = np.roll(square, 10, axis=1)
    truths = [square, square, other, square]  # the copy is right on 1, wrong on 2

    def frames() -> Iterator[ClipFrame]:
        for truth in truths:
            yield ClipFrame(np.zeros((20, 20, 3), dtype=np.uint8), {1: truth})

    score = evaluate_clip(FirstMaskTracker(), EvaluationClip("a", "b", (1,), 4, frames))
    assert score.objects[0].jaccard == pytest.approx(0.5)
    assert score.objects[0].returned is None


def test_frames_after_a_gap_are_scored_separately() -> None:
    seen = np.array([1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1], dtype=np.bool_)
    assert np.flatnonzero(seen_again(seen)).tolist() == [8, 10]


def test_a_clip_too_short_to_score_is_refused(clips: list[EvaluationClip]) -> None:
    short = clip_of("crossing", 10_005, (1,), count=2)
    with pytest.raises(ValueError, match="on 2 frames; at least 3"):
        evaluate_clip(BlindTracker(), short)


def test_a_mask_over_another_object_is_measured() -> None:
    left, right = np.zeros((2, 20, 20), dtype=np.bool_)
    left[5:10, 5:10] = True
    right[5:10, 10:14] = True
    moved = np.roll(right, -2, axis=1)  # half of it where the other's mask stays

    def frames() -> Iterator[ClipFrame]:
        for truth in (right, moved, right, right):
            yield ClipFrame(np.zeros((20, 20, 3), dtype=np.uint8), {1: left & ~truth, 2: truth})

    score = evaluate_clip(FirstMaskTracker(), EvaluationClip("a", "b", (1, 2), 4, frames))
    assert [each.covering for each in score.objects] == [pytest.approx(0.25), 0.0]


def test_the_masks_of_a_photograph_are_those_of_its_clicks() -> None:
    left, right = np.zeros((2, 20, 20), dtype=np.bool_)
    left[5:10, 0:10] = right[5:10, 10:20] = True
    frame = ClipFrame(
        np.zeros((20, 20, 3), dtype=np.uint8), {1: left, 2: right}, others={3: left & ~left}
    )
    clip = EvaluationClip("a", "b", (1, 2), 1, lambda: iter([frame]), still=True)

    class LeftOnly(FakeTracker):
        def answer(self, session: FakeSession, image: np.ndarray) -> dict[int, np.ndarray]:
            return {1: left, 2: left}

    tracker = LeftOnly()
    score = evaluate_clip(tracker, clip, "mask")
    assert [prompt.points_xy is not None for prompt in tracker.prompts] == [True, True]
    assert [each.jaccard for each in score.objects] == [1.0, 0.0]
    assert [each.covering for each in score.objects] == [0.0, 1.0]
    assert [each.area_share for each in score.objects] == [0.125, 0.125]
    assert [each.actual_iou for each in score.objects] == [(1.0,), (0.0,)]
    assert [each.switched for each in score.objects] == [None, None]
    assert score.still


def test_the_error_of_a_calibration_is_measured_beside_the_prediction_s() -> None:
    mask = np.ones((20, 20), dtype=np.bool_)
    clip = EvaluationClip(
        "a", "b", (1,), 4, lambda: iter([ClipFrame(np.zeros((20, 20, 3), np.uint8), {1: mask})] * 4)
    )

    class Calibrated(FirstMaskTracker):
        def step(self, batch: Any) -> list[list[Track]]:
            ((track,),) = super().step(batch)
            return [[replace(track, predicted_iou=0.5, calibrated_iou=0.9)]]

    (score,) = evaluate_suite(Calibrated(), [clip])
    found = summarise([score], identity=False)
    assert found["calibration_error"] == pytest.approx(0.5)
    assert found["calibrated_error"] == pytest.approx(0.1)
    (plain,) = evaluate_suite(FirstMaskTracker(), [clip])
    assert summarise([plain], identity=False)["calibrated_error"] is None


def test_visible_objects_are_clicked_again_as_the_clip_says() -> None:
    square = np.zeros((20, 20), dtype=np.bool_)
    square[5:10, 5:10] = True
    truths = [square, square, square, square, np.zeros_like(square), square, square]

    def frames() -> Iterator[ClipFrame]:
        for truth in truths:
            yield ClipFrame(np.zeros((20, 20, 3), dtype=np.uint8), {1: truth})

    tracker = FirstMaskTracker()
    clip = EvaluationClip("a", "b", (1,), len(truths), frames, clicked_every=2)
    evaluate_clip(tracker, clip, "mask")
    first, *again = tracker.prompts  # on frames 0, 2 and 6: on frame 4 there is nothing to click
    assert first.mask is not None
    assert [prompt.points_xy for prompt in again] == [((7.5, 7.5),)] * 2
