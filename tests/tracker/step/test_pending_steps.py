"""Steps that are submitted before the one before was collected: the same tracks, in every order."""

from __future__ import annotations

import gc
from collections.abc import Callable

import psutil
import pytest

from tests.tracker.ahead import POLICIES, Ahead, assert_identical, tracker_of
from tests.tracker.little import click, little_picture
from tests.tracker.policy.test_robust_tracker import PLAIN
from tracker import RobustOptions, Session, Track, Tracker

FRAMES = 12
MEBIBYTE = 2**20


def script(index: int) -> list[list]:
    """Prompts of two streams: new objects, several on a frame, a click on one that is tracked."""
    first = {0: [click(1), click(2, 45, 40)], 6: [click(2, 40, 44)], 9: [click(5, 9, 9)]}
    second = {3: [click(3)], 8: [click(4, 45, 9)]}
    return [first.get(index, []), second.get(index, [])]


@POLICIES
def test_steps_submitted_ahead_find_the_same_bit_for_bit(robust: RobustOptions | None) -> None:
    plain, ahead = tracker_of(robust, buffers=False), Ahead(tracker_of(robust))
    expected = []
    sessions = [[each.open_session() for _ in range(2)] for each in (plain, ahead.tracker)]
    for both in sessions:
        both[1].smooth_masks(0.3)
    for index in range(FRAMES):
        batches = [
            [
                (session, little_picture(index + 5 * place, 50, 61), prompts)
                for place, (session, prompts) in enumerate(zip(both, script(index), strict=True))
                if index % 4 or place == 0  # the second stream is slower
            ]
            for both in sessions
        ]
        expected.append(plain.step(batches[0]))
        ahead.step(batches[1])
    ahead.end()
    for own, other in zip(ahead.results, expected, strict=True):
        for ours, theirs in zip(own, other, strict=True):
            assert_identical(ours, theirs)
    for ours, theirs in zip(sessions[1], sessions[0], strict=True):
        assert ours.frames_seen == theirs.frames_seen
        assert ours.last_step == theirs.last_step


def remove(tracker: Tracker, session: Session) -> object:
    return session.remove(2)


def export(tracker: Tracker, session: Session) -> object:
    memory = session.export_object(1)
    return memory.age_F.tolist(), memory.pointer_FC.tolist()


def take_up(tracker: Tracker, session: Session) -> object:
    return session.import_object(7, session.export_object(1))


def correct(tracker: Tracker, session: Session) -> object:
    return tracker.correct(session, [click(1, 9, 50)]).tracks[0].logits.tolist()  # type: ignore[union-attr]


def correct_earlier(tracker: Tracker, session: Session) -> object:
    # The second object was started on the newest frame: what was found there stands.
    correction = tracker.correct(session, [click(1, 9, 50), click(8, 9, 9)], 2)
    return [track.logits.tolist() for track in correction.latest if track.logits is not None]


def preview(tracker: Tracker, session: Session) -> object:
    return tracker.preview(session, click(1, 9, 50)).logits.tolist()  # type: ignore[union-attr]


def smooth(tracker: Tracker, session: Session) -> object:
    return session.smooth_masks(0.4)


def close_another(tracker: Tracker, session: Session) -> object:
    other = tracker.open_session()
    tracker.submit([(other, little_picture(3), [click(1)])])
    other.close()
    return tracker.free_slots


def use_smaller_images(tracker: Tracker, session: Session) -> object:
    return tracker.set_image_size(32)


def miss_frames(tracker: Tracker, session: Session) -> object:
    return session.note_gap(3)


@POLICIES
@pytest.mark.parametrize(
    "between",
    [
        remove,
        export,
        take_up,
        correct,
        correct_earlier,
        preview,
        smooth,
        close_another,
        use_smaller_images,
        miss_frames,
    ],
)
def test_what_comes_between_finds_the_session_after_the_step(
    between: Callable[[Tracker, Session], object], robust: RobustOptions | None
) -> None:
    """Whether it was collected yet or not makes no difference."""

    def run(collects_first: bool) -> tuple[object, list[list[Track]]]:
        tracker = tracker_of(robust)
        session = tracker.open_session(history_frames=6)
        session.smooth_masks(0.2)
        found, answer = [], None
        for index in range(9):
            prompts = {0: [click(1), click(2, 50, 50)], 5: [click(8, 9, 9)]}.get(index, [])
            pending = tracker.submit([(session, little_picture(index), prompts)])
            if collects_first:
                pending.collect()
            if index == 5:
                answer = between(tracker, session)
            found += pending.collect()
        return answer, found

    (answer, ours), (expected, theirs) = run(False), run(True)
    assert answer == expected
    for own, other in zip(ours, theirs, strict=True):
        assert_identical(own, other)


def test_collecting_twice_gives_the_same_also_for_a_closed_session() -> None:
    tracker = tracker_of(None)
    session = tracker.open_session()
    pending = tracker.submit([(session, little_picture(0), [click(1)])])
    session.close()
    assert tracker.free_slots == 8
    ((track,),) = pending.collect()
    assert track.object_id == 1
    assert pending.collect() is pending.collect()
    assert pending.frame_indexes == [0]


def test_one_step_may_be_in_flight_an_older_one_is_finished_first() -> None:
    tracker, plain = tracker_of(None), tracker_of(None)
    session, other = tracker.open_session(), plain.open_session()
    pending = [
        tracker.submit([(session, little_picture(index), [click(1)] if index == 0 else [])])
        for index in range(5)
    ]
    assert len(tracker._queue._in_flight) == 2
    for index, step in enumerate(pending):
        theirs = plain.step([(other, little_picture(index), [click(1)] if index == 0 else [])])
        assert_identical(step.collect()[0], theirs[0])
    assert len(tracker._queue._in_flight) == 0


def test_what_is_left_out_is_left_out_of_the_next_step_that_is_submitted() -> None:
    """Also where it is said after the step before was submitted, and before it is collected."""
    ahead = Ahead(tracker_of(None))
    session = ahead.tracker.open_session()
    for index in range(6):
        ahead.step([(session, little_picture(index), [click(1), click(2)] if index == 0 else [])])
        session.leave_out([1] if index in (1, 3) else [])
    ahead.end()
    searched = [[track.object_id for track in tracks] for (tracks,) in ahead.results]
    assert searched == [[1, 2], [1, 2], [2], [1, 2], [2], [1, 2]]


@pytest.mark.own_process  # in a large process a former test's free memory would count here
@pytest.mark.timeout(600)
def test_a_thousand_steps_submitted_ahead_leave_nothing_behind() -> None:
    ahead = Ahead(tracker_of(PLAIN))
    session = ahead.tracker.open_session()
    buffers = ahead.tracker._frame_step._host_buffers
    assert buffers is not None
    pictures = [little_picture(index) for index in range(5)]
    process, resident, held = psutil.Process(), [], []
    for index in range(1000):
        prompts = [click(index, 20, 30)] if index % 40 == 0 else []
        if prompts and index:
            session.remove(index - 40)  # objects come and go
        ahead.step([(session, pictures[index % 5], prompts)])
        ahead.results.clear()
        if index % 250 == 249:
            gc.collect()
            resident.append(process.memory_info().rss)
            held.append((buffers.bytes, len(gc.get_objects())))
        assert len(ahead.tracker._queue._in_flight) == 1
    assert held[0][0] == held[-1][0]
    assert held[-1][1] - held[0][1] <= 750 / 4, held  # not even an object in four steps
    assert resident[-1] - resident[0] < 8 * MEBIBYTE, resident
