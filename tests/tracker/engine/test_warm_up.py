"""Warming up reports its progress and leaves nothing behind."""

from __future__ import annotations

from tests.tracker.little import click, little_picture, little_tracker, step


def test_progress_ends_at_its_total_and_every_slot_is_free_again() -> None:
    tracker = little_tracker(max_objects=3)
    reported: list[tuple[int, int]] = []
    tracker.warm_up(lambda done, total: reported.append((done, total)))
    assert [done for done, _ in reported] == list(range(1, reported[-1][1] + 1))
    assert tracker.free_slots == 3


def test_tracked_objects_are_not_affected() -> None:
    warmed, plain = little_tracker(), little_tracker()
    sessions = [each.open_session() for each in (warmed, plain)]
    for index in range(3):
        prompts = [click(1)] if index == 0 else []
        own, other = (
            step(tracker, session, little_picture(index), *prompts)[1]
            for tracker, session in zip((warmed, plain), sessions, strict=True)
        )
        assert own.object_score == other.object_score
        warmed.warm_up()


def test_without_a_free_slot_nothing_is_done() -> None:
    tracker = little_tracker(max_objects=1)
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(1))
    tracker.warm_up()
    assert session.frames_seen == 1
