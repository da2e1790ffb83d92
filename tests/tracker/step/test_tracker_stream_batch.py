"""An object's result does not depend on the other objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.tracker.little import assert_same, click, little_picture, little_tracker, step
from tracker import Prompt, Session, Track, Tracker

FRAMES = 10
PROMPTS = {
    1: click(1),
    2: Prompt(2, box_xyxy=(10, 12, 40, 50)),
    3: Prompt(3, mask=np.pad(np.ones((20, 16), np.bool_), ((10, 34), (30, 18)))),
    4: Prompt(4, ((50, 20), (10, 40)), (1, 0)),
}


def run(*prompts: Prompt) -> list[dict[int, Track]]:
    tracker = little_tracker()
    session = tracker.open_session()
    frames = [step(tracker, session, little_picture(0), *prompts)]
    frames += [step(tracker, session, little_picture(index)) for index in range(1, FRAMES)]
    return frames


@pytest.mark.parametrize("object_id", PROMPTS)
def test_object_alone_is_tracked_as_in_company(object_id: int) -> None:
    alone = run(PROMPTS[object_id])
    company = run(*PROMPTS.values())
    for lone, crowd in zip(alone, company, strict=True):
        assert_same(lone[object_id], crowd[object_id])


def test_objects_are_distinguished() -> None:
    last = run(*PROMPTS.values())[2]
    logits = [track.logits for track in last.values() if track.logits is not None]
    for place, own in enumerate(logits):
        for other in logits[:place]:
            assert np.abs(own - other).max() > 1e-2


def test_stream_alone_is_tracked_as_beside_others() -> None:
    alone = run(PROMPTS[1], PROMPTS[2])

    tracker = little_tracker()
    mine, busy, idle = (tracker.open_session() for _ in range(3))
    for index in range(FRAMES):
        prompts = [PROMPTS[1], PROMPTS[2]] if index == 0 else []
        # The neighbour has frames of another size, and its own prompts at other times.
        others = [PROMPTS[4]] if index in (0, 4) else []
        _, tracks, nothing = tracker.step(
            [
                (busy, little_picture(50 + index, 48, 80), others),
                (mine, little_picture(index), prompts),
                (idle, little_picture(70), []),
            ]
        )
        assert nothing == []
        for track in tracks:
            assert_same(track, alone[index][track.object_id])


def test_streams_in_any_order_give_the_same() -> None:
    def streams(order: tuple[int, int]) -> list[list[list[Track]]]:
        tracker = little_tracker()
        sessions = [tracker.open_session() for _ in range(2)]
        results = []
        for index in range(6):
            batch = [
                (sessions[s], little_picture(10 * s + index), [click(s)] if index == 0 else [])
                for s in order
            ]
            by_stream = dict(zip(order, tracker.step(batch), strict=True))
            results.append([by_stream[0], by_stream[1]])
        return results

    for forth, back in zip(streams((0, 1)), streams((1, 0)), strict=True):
        for one, other in zip(forth, back, strict=True):
            assert_same(one[0], other[0])


def test_adding_and_removing_objects_does_not_touch_the_others() -> None:
    alone = run(PROMPTS[1])

    tracker = little_tracker(max_objects=3)
    session = tracker.open_session()
    events: dict[int, list[Prompt]] = {0: [PROMPTS[1]], 2: [PROMPTS[2]], 4: [PROMPTS[3]]}
    for index in range(FRAMES):
        tracks = step(tracker, session, little_picture(index), *events.get(index, []))
        assert_same(tracks[1], alone[index][1])
        if index == 5:
            session.remove(2)  # its slot is taken by object 4 on the next frame
            events[6] = [PROMPTS[4]]
    assert session.object_ids == (1, 3, 4)


def test_slot_of_a_removed_object_holds_nothing_for_the_next() -> None:
    fresh = run(PROMPTS[4])
    tracker = little_tracker(max_objects=1)
    session = tracker.open_session()
    for index in range(4):
        step(tracker, session, little_picture(30 + index), *([PROMPTS[1]] if index == 0 else []))
    session.remove(1)
    for index in range(FRAMES):
        prompts = [PROMPTS[4]] if index == 0 else []
        assert_same(step(tracker, session, little_picture(index), *prompts)[4], fresh[index][4])


def test_object_added_again_under_its_id_is_a_new_one() -> None:
    """Nothing of the frame's clicks and logits is left to its second life."""
    tracker, fresh = little_tracker(max_objects=1), little_tracker(max_objects=1)
    session, other = tracker.open_session(), fresh.open_session()
    for index in range(3):
        step(tracker, session, little_picture(index), *([PROMPTS[1]] if index == 0 else []))
    tracker.correct(session, [click(1, 50, 50)])
    session.remove(1)
    prompt = replace(PROMPTS[4], object_id=1)
    (again,) = tracker.correct(session, [prompt]).tracks
    assert_same(again, step(fresh, other, little_picture(2), prompt)[1])
    for index in range(3, 6):
        assert_same(
            step(tracker, session, little_picture(index))[1],
            step(fresh, other, little_picture(index))[1],
        )


def test_corrections_reach_only_the_corrected_object() -> None:
    alone = run(PROMPTS[2])
    tracker = little_tracker()
    session = tracker.open_session()
    step(tracker, session, little_picture(0), PROMPTS[1], PROMPTS[2])
    for index in range(1, FRAMES):
        tracks = step(tracker, session, little_picture(index))
        assert_same(tracks[2], alone[index][2])
        if index % 3 == 0:
            corrected = tracker.correct(session, [click(1, 5, 60)]).tracks
            assert [track.object_id for track in corrected] == [1]


def test_tracks_come_in_the_order_of_batch_and_objects() -> None:
    tracker = little_tracker()
    one, two = tracker.open_session(), tracker.open_session()
    mixed = [PROMPTS[3], click(7), PROMPTS[2], Prompt(5, ((5, 5), (9, 9)), (1, 1))]
    first, second = tracker.step(
        [(one, little_picture(0), mixed), (two, little_picture(1), [click(9), PROMPTS[3]])]
    )
    assert [track.object_id for track in first] == [3, 7, 2, 5]
    assert [track.object_id for track in second] == [9, 3]
    assert _ids(tracker, one) == [3, 7, 2, 5]


def _ids(tracker: Tracker, session: Session) -> list[int]:
    return list(step(tracker, session, little_picture(2)))
