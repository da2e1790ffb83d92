"""Corrections of frames that have passed: they give what the same click in time would have."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.tracker.little import (
    LITTLE,
    assert_all_same,
    assert_same,
    click,
    little_picture,
    little_tracker,
)
from tests.tracker.little import step as step_one
from tracker import CapacityError, Prompt, PromptError, Session, Track, Tracker
from tracker.model import Sam2

VISIBLE_BIAS = 30.0


def step(tracker: Tracker, session: Session, index: int, *prompts: Prompt) -> dict[int, Track]:
    return step_one(tracker, session, little_picture(index), *prompts)


def assert_identical(ours: dict[int, Track], theirs: dict[int, Track]) -> None:
    assert ours.keys() == theirs.keys()
    for object_id, own in ours.items():
        other = theirs[object_id]
        assert own.logits is not None
        assert other.logits is not None
        np.testing.assert_array_equal(own.logits, other.logits)
        assert own.predicted_iou == other.predicted_iou
        assert own.object_score == other.object_score


@pytest.mark.parametrize("clicked", [0, 3, 8, 9])
def test_object_started_on_an_earlier_frame_is_as_if_started_in_time(clicked: int) -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    late, in_time = tracker.open_session(history_frames=20), tracker.open_session()
    expected = []
    for index in range(10):
        step(tracker, late, index)
        prompts = [click(1)] if index == clicked else []
        expected.append(step(tracker, in_time, index, *prompts))
    correction = tracker.correct(late, [click(1)], clicked)
    assert_all_same(correction.tracks, [expected[clicked][1]])
    assert_all_same(correction.latest, [expected[9][1]])
    for index in range(10, 14):
        assert_all_same(
            list(step(tracker, late, index).values()), list(step(tracker, in_time, index).values())
        )


def test_correction_of_an_earlier_frame_is_as_if_given_in_time() -> None:
    """Exactly so while the window has not moved on over the memories before that frame."""
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    late, in_time = tracker.open_session(history_frames=8), tracker.open_session()
    better = Prompt(1, points_xy=((50, 50), (5, 5)), point_labels=(1, 0))
    expected, corrected_in_time = {}, None
    for index in range(7):
        prompts = [click(1)] if index == 0 else []
        step(tracker, late, index, *prompts)
        expected = step(tracker, in_time, index, *prompts)
        if index == 3:
            (corrected_in_time,) = tracker.correct(in_time, [better]).tracks
    assert corrected_in_time is not None
    correction = tracker.correct(late, [better], 3)
    assert_same(correction.tracks[0], corrected_in_time)
    assert_same(correction.latest[0], expected[1])
    for index in range(7, 12):
        assert_same(step(tracker, late, index)[1], step(tracker, in_time, index)[1])


def test_all_memories_are_there_again_after_a_window_was_caught_up() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    session = tracker.open_session(history_frames=10)
    for index in range(30):
        step(tracker, session, index, *([click(1)] if index == 0 else []))
    slot = session.slot_of(1)
    before = np.sort(tracker._bank._spatial_frame[slot])
    tracker.correct(session, [click(1, 40, 40)], 21)
    np.testing.assert_array_equal(np.sort(tracker._bank._spatial_frame[slot]), before)


def test_anew_forgets_what_was_clicked_on_that_frame_before() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    session, fresh = tracker.open_session(history_frames=4), tracker.open_session()
    step(tracker, session, 0, click(1))
    step(tracker, session, 1)
    tracker.correct(session, [click(1, 3, 3)], 1)
    (again,) = tracker.correct(session, [click(1, 40, 40)], 1, anew=True).tracks
    assert_same(again, step(tracker, fresh, 1, click(1, 40, 40))[1])


def test_prompt_on_a_later_frame_stands() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    session = tracker.open_session(history_frames=8)
    for index in range(6):
        tracks = step(tracker, session, index, *([click(1, 9, 9)] if index in (2, 5) else []))
    correction = tracker.correct(session, [click(1, 50, 50)], 1)
    assert_identical({1: correction.latest[0]}, tracks)


def test_other_objects_are_not_touched() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    sessions = [tracker.open_session(history_frames=8) for _ in range(2)]
    for session in sessions:
        for index in range(5):
            step(tracker, session, index, *([click(1), click(2, 50, 50)] if index == 0 else []))
    tracker.correct(sessions[0], [click(1, 9, 60)], 2)
    ours, theirs = (step(tracker, session, 5) for session in sessions)
    assert_identical({2: ours[2]}, {2: theirs[2]})
    assert ours[1].logits is not None
    assert theirs[1].logits is not None
    assert (ours[1].logits != theirs[1].logits).any()


def test_several_objects_are_corrected_on_one_frame_as_each_alone() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    both, alone = tracker.open_session(history_frames=8), tracker.open_session(history_frames=8)
    for session in (both, alone):
        for index in range(5):
            step(tracker, session, index)
    prompts = [click(1), click(2, 50, 50)]
    together = tracker.correct(both, prompts, 1)
    singly = [tracker.correct(alone, [prompt], 1) for prompt in prompts]
    assert_all_same(together.latest, [each.latest[0] for each in singly])


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("anew", [False, True])
def test_preview_is_what_the_prompt_gives_and_leaves_no_trace(live: bool, anew: bool) -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    looked, plain = (tracker.open_session(history_frames=8) for _ in range(2))
    for session in (looked, plain):
        for index in range(5):
            step(tracker, session, index, *([click(1)] if live and index == 0 else []))
    wanted = click(1, 44, 12)
    free, before = tracker.free_slots, looked.object_ids
    for _ in range(3):
        seen = tracker.preview(looked, wanted, 2, anew=anew)
    assert (tracker.free_slots, looked.object_ids) == (free, before)
    assert_identical(step(tracker, looked, 5), step(tracker, plain, 5))
    given = tracker.correct(looked, [wanted], 2, anew=anew)
    assert_identical({1: seen}, {1: given.tracks[0]})
    expected = tracker.correct(plain, [wanted], 2, anew=anew)
    assert_identical({1: given.latest[0]}, {1: expected.latest[0]})
    assert_identical(step(tracker, looked, 6), step(tracker, plain, 6))


def test_preview_is_refused_as_the_prompt_would_be() -> None:
    tracker = little_tracker(max_objects=1)
    session = tracker.open_session(history_frames=2)
    with pytest.raises(PromptError, match="no frame"):
        tracker.preview(session, click(1))
    step(tracker, session, 0, click(1))
    with pytest.raises(CapacityError):
        tracker.preview(session, click(2))
    with pytest.raises(PromptError, match="outside the 64×64 frame"):
        tracker.preview(session, click(1, 99, 0))


@pytest.mark.parametrize("live", [False, True])
def test_catching_up_that_fails_changes_nothing(
    live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    failing, plain = (tracker.open_session(history_frames=9) for _ in range(2))
    for session in (failing, plain):
        for index in range(9):
            step(tracker, session, index, *([click(1)] if live and index == 0 else []))
    remember = Sam2.finish_memory
    calls = itertools.count()

    def fails_at_the_third(self: Sam2, *arguments: torch.Tensor) -> torch.Tensor:
        if next(calls) == 2:
            raise RuntimeError("no memory left")
        return remember(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Sam2, "finish_memory", fails_at_the_third)
        with pytest.raises(RuntimeError, match="no memory left"):
            tracker.correct(failing, [click(1, 50, 9)], 1)
    assert failing.object_ids == plain.object_ids
    again, expected = (tracker.correct(each, [click(1, 9, 50)], 2) for each in (failing, plain))
    assert_identical({1: again.latest[0]}, {1: expected.latest[0]})
    assert_identical(step(tracker, failing, 9), step(tracker, plain, 9))


def test_correction_of_a_held_frame_reaches_over_the_gap() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    held, plain = (tracker.open_session(history_frames=3) for _ in range(2))
    for session in (held, plain):
        for index in range(30):
            step(tracker, session, index, *([click(1)] if index == 0 else []))
            if index == 4:
                session.hold(4)
    tracker.correct(held, [click(1, 50, 9)], 4)
    assert tracker._bank.conditioning_frames(held.slot_of(1)) == (0, 4)
    ours, theirs = (step(tracker, session, 30)[1] for session in (held, plain))
    assert ours.logits is not None
    assert theirs.logits is not None
    assert (ours.logits != theirs.logits).any()


def test_size_of_the_clicked_frame_decides_what_is_inside() -> None:
    tracker = little_tracker()
    session = tracker.open_session(history_frames=4)
    for index, (height, width) in enumerate([(30, 50), (200, 64)]):
        step_one(tracker, session, little_picture(index, height, width))
    correction = tracker.correct(session, [click(1, 49, 29)], 0)
    assert correction.tracks[0].mask.shape == (30, 50)
    assert correction.latest[0].mask.shape == (200, 64)
    with pytest.raises(PromptError, match="outside the 50×30 frame"):
        tracker.correct(session, [click(1, 60, 60)], 0)


def test_little_network_has_a_window_of_six() -> None:
    """The tests above count on it."""
    assert LITTLE.recent_memories == 6
