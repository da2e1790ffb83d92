"""Objects that a step leaves out cost nothing and affect no other object."""

from __future__ import annotations

import pytest

from tests.tracker.little import assert_same, click, little_picture, little_tracker, step


def test_object_that_is_left_out_has_no_track_and_others_are_the_same() -> None:
    tracker = little_tracker()
    alone, both = tracker.open_session(), tracker.open_session()
    step(tracker, alone, little_picture(0), click(1))
    step(tracker, both, little_picture(0), click(1), click(2, 40, 20))
    for index in range(1, 6):
        both.leave_out({2} if index % 2 else ())
        own = step(tracker, alone, little_picture(index))
        beside = step(tracker, both, little_picture(index))
        assert set(beside) == ({1} if index % 2 else {1, 2})
        assert_same(beside[1], own[1])


def test_leaving_out_is_for_one_frame_and_ends_with_a_prompt() -> None:
    tracker = little_tracker()
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(1))
    session.leave_out({1})
    assert step(tracker, session, little_picture(1)) == {}
    assert set(step(tracker, session, little_picture(2))) == {1}
    session.leave_out({1})
    assert set(step(tracker, session, little_picture(3), click(1))) == {1}
    assert session.frames_seen == 4


def test_similarity_is_that_of_the_pointers_and_none_before_the_first() -> None:
    tracker = little_tracker(object_score_bias=20.0)
    session = tracker.open_session()
    assert step(tracker, session, little_picture(0), click(1))[1].pointer_similarity is None
    same = step(tracker, session, little_picture(0), click(1))[1].pointer_similarity
    assert same is not None
    assert same == pytest.approx(1.0, abs=1e-4)
    later = step(tracker, session, little_picture(3))[1].pointer_similarity
    assert later is not None
    assert -1.0001 <= later < same
