"""Which frame boxes from outside are for: a moment ago, still to come, or gone."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from streamer.errors import ControlError
from streamer.starters import detection_passes
from streamer.starters.detection_passes import EARLY_KEPT, FRAMES_KEPT, ReceivedPasses
from streamer.types import Detection, Frame, FrameReference, FrameResult
from tests.streamer.fakes import picture
from tests.streamer.starters.things import followed, thing

SECOND_NS = 1_000_000_000


def tracked(looks: ReceivedPasses, *indexes: int) -> None:
    for index in indexes:  # 25 a second
        looks.see(FrameResult(Frame("gate", "s", index, picture(index)), 0, 0, ()))


def at(index: int) -> FrameReference:
    return FrameReference(frame_index=index)


async def judged(looks: ReceivedPasses) -> tuple[int, int]:
    """The frame of the next look, and how many boxes it has."""
    look = None
    while look is None:
        async with asyncio.timeout(5):
            await looks.due()
        look = looks.take()
    assert look.frame.image is None
    frame, found = look.find()
    assert frame is look.frame
    return frame.frame_index, len(found)


async def test_boxes_are_judged_on_the_frame_they_are_for() -> None:
    looks = ReceivedPasses(SECOND_NS)
    with pytest.raises(ControlError, match="no frame of this stream was tracked yet"):
        looks.offer(at(0), [])
    tracked(looks, 0, 2, 3)
    assert looks.offer(at(2), [thing(5)])
    assert await judged(looks) == (2, 1)
    assert looks.offer(FrameReference(capture_time_ns=119_000_000), [])
    assert await judged(looks) == (3, 0)
    for moment, reason in (
        (at(1), "was not tracked"),
        (at(3 + FRAMES_KEPT + 1), "still to come"),
        (FrameReference(frame_index=2, session_id="x"), "another connection"),
    ):
        with pytest.raises(ControlError, match=reason):
            looks.offer(moment, [])
    tracked(looks, 40, 41)
    with pytest.raises(ControlError, match="too old"):
        looks.offer(at(3), [])


async def test_newer_boxes_replace_those_not_judged_yet() -> None:
    looks = ReceivedPasses(SECOND_NS)
    tracked(looks, 0, 1)
    assert looks.offer(at(0), [])
    assert not looks.offer(at(1), [thing(5)])
    assert await judged(looks) == (1, 1)


async def test_detector_that_is_faster_than_the_tracker_waits_for_its_frame() -> None:
    looks = ReceivedPasses(SECOND_NS)
    tracked(looks, 0)
    assert looks.offer(at(2), [thing(5)])
    assert looks.offer(FrameReference(capture_time_ns=120_000_000), [thing(5), thing(9)])
    tracked(looks, 1, 2)
    assert await judged(looks) == (2, 1)
    tracked(looks, 3)
    assert await judged(looks) == (3, 2)
    for index in range(4, 4 + 2 * EARLY_KEPT):
        looks.offer(at(index), [])
    assert len(looks._early) == EARLY_KEPT
    tracked(looks, 200)  # none of them was tracked
    assert not looks._early
    looks.offer(at(200), [])
    assert await judged(looks) == (200, 0)


async def test_frames_are_kept_for_the_history_and_a_bounded_number() -> None:
    looks = ReceivedPasses(SECOND_NS)
    tracked(looks, *range(100))
    assert len(looks._frames) == 26
    looks = ReceivedPasses(1000 * SECOND_NS)
    tracked(looks, *range(2 * FRAMES_KEPT))
    assert len(looks._frames) == FRAMES_KEPT
    with pytest.raises(ControlError, match="too old"):
        looks.offer(at(3), [])


async def test_masks_of_frames_and_of_early_boxes_have_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detection_passes, "MASK_BYTES_KEPT", 5000)
    looks = ReceivedPasses(1000 * SECOND_NS)
    for index in range(8):  # 2000 bytes a frame
        frame = Frame("gate", "s", index, picture(index))
        looks.see(FrameResult(frame, 0, 0, (followed(1, (0, 0, 50, 40)),)))
    assert sorted(looks._frames) == [6, 7]
    with pytest.raises(ControlError, match="too old"):
        looks.offer(at(5), [])
    assert looks.offer(at(7), [thing(5)])
    masked = Detection((0, 0, 50, 40), crop=np.ones((40, 50), dtype=np.bool_))
    assert [looks.offer(at(index), [masked]) for index in (8, 9, 10)] == [True, True, False]
    assert [moment.frame_index for moment, _ in looks._early] == [9, 10]
