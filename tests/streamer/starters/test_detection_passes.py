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


def tracked(received: ReceivedPasses, *indexes: int) -> None:
    for index in indexes:  # 25 a second
        received.see(FrameResult(Frame("gate", "s", index, picture(index)), 0, 0, ()))


def at(index: int) -> FrameReference:
    return FrameReference(frame_index=index)


async def judged(received: ReceivedPasses) -> tuple[int, int]:
    """Frame index and number of boxes of the next detection pass."""
    detection_pass = None
    while detection_pass is None:
        async with asyncio.timeout(5):
            await received.due()
        detection_pass = received.take()
    assert detection_pass.frame.image is None
    frame, found = detection_pass.find()
    assert frame is detection_pass.frame
    return frame.frame_index, len(found)


async def test_boxes_are_judged_on_the_frame_they_are_for() -> None:
    received = ReceivedPasses(SECOND_NS)
    with pytest.raises(ControlError, match="no frame of this stream was tracked yet"):
        received.offer(at(0), [])
    tracked(received, 0, 2, 3)
    assert received.offer(at(2), [thing(5)])
    assert await judged(received) == (2, 1)
    assert received.offer(FrameReference(capture_time_ns=119_000_000), [])
    assert await judged(received) == (3, 0)
    for moment, reason in (
        (at(1), "was not tracked"),
        (at(3 + FRAMES_KEPT + 1), "still to come"),
        (FrameReference(frame_index=2, session_id="x"), "another connection"),
    ):
        with pytest.raises(ControlError, match=reason):
            received.offer(moment, [])
    tracked(received, 40, 41)
    with pytest.raises(ControlError, match="too old"):
        received.offer(at(3), [])


async def test_newer_boxes_replace_those_not_judged_yet() -> None:
    received = ReceivedPasses(SECOND_NS)
    tracked(received, 0, 1)
    assert received.offer(at(0), [])
    assert not received.offer(at(1), [thing(5)])
    assert await judged(received) == (1, 1)


async def test_detector_that_is_faster_than_the_tracker_waits_for_its_frame() -> None:
    received = ReceivedPasses(SECOND_NS)
    tracked(received, 0)
    assert received.offer(at(2), [thing(5)])
    assert received.offer(FrameReference(capture_time_ns=120_000_000), [thing(5), thing(9)])
    tracked(received, 1, 2)
    assert await judged(received) == (2, 1)
    tracked(received, 3)
    assert await judged(received) == (3, 2)
    for index in range(4, 4 + 2 * EARLY_KEPT):
        received.offer(at(index), [])
    assert len(received._early) == EARLY_KEPT
    tracked(received, 200)  # none of them was tracked
    assert not received._early
    received.offer(at(200), [])
    assert await judged(received) == (200, 0)


async def test_frames_are_kept_for_the_history_and_a_bounded_number() -> None:
    received = ReceivedPasses(SECOND_NS)
    tracked(received, *range(100))
    assert len(received._frames) == 26
    received = ReceivedPasses(1000 * SECOND_NS)
    tracked(received, *range(2 * FRAMES_KEPT))
    assert len(received._frames) == FRAMES_KEPT
    with pytest.raises(ControlError, match="too old"):
        received.offer(at(3), [])


async def test_masks_of_frames_and_of_early_boxes_have_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detection_passes, "MASK_BYTES_KEPT", 5000)
    received = ReceivedPasses(1000 * SECOND_NS)
    for index in range(8):  # 2000 bytes a frame
        frame = Frame("gate", "s", index, picture(index))
        received.see(FrameResult(frame, 0, 0, (followed(1, (0, 0, 50, 40)),)))
    assert sorted(received._frames) == [6, 7]
    with pytest.raises(ControlError, match="too old"):
        received.offer(at(5), [])
    assert received.offer(at(7), [thing(5)])
    masked = Detection((0, 0, 50, 40), crop=np.ones((40, 50), dtype=np.bool_))
    assert [received.offer(at(index), [masked]) for index in (8, 9, 10)] == [True, True, False]
    assert [moment.frame_index for moment, _ in received._early] == [9, 10]
