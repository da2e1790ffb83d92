"""A seamless loop, scored at both ends."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tracker.evaluation.trackers import FakeSession, FakeTracker, FirstMaskTracker
from tracker.evaluation.clips import ClipFrame
from tracker.evaluation.long_stream import follow_loop, to_and_fro
from tracker.evaluation.synthetic import Window
from tracker.types import MaskArray

STANDING = Window("shapes", 11_118, 318, 4, (3,))
SIZE = (160, 90)


class TiringTracker(FakeTracker):
    """Finds nothing after 60 frames."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def answer(self, session: FakeSession, image: np.ndarray) -> dict[int, MaskArray]:
        self.seen += 1
        masks = session.first
        return masks if self.seen <= 60 else {key: np.zeros_like(masks[key]) for key in masks}


def test_forward_and_backward_repeats_neither_end() -> None:
    frames = [ClipFrame(np.full((1, 1, 3), index, np.uint8), {}) for index in range(4)]
    circle = to_and_fro(frames)
    assert [int(next(circle).image[0, 0, 0]) for _ in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_a_single_picture_is_no_loop() -> None:
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        next(to_and_fro([ClipFrame(np.zeros((1, 1, 3), np.uint8), {})]))


def test_both_ends_are_scored_and_the_counter_is_set() -> None:
    tracker = FirstMaskTracker()
    found = follow_loop(tracker, 120, "mask", 10**6, STANDING, SIZE, scored=30)
    assert found.first[3] == pytest.approx(found.last[3], abs=0.05)
    assert found.first[3] > 0.3
    assert len(tracker.prompts) == 1
    assert (found.frames, found.first_frame) == (120, 10**6)
    assert found.first_rss_bytes > 0
    assert tracker.sessions[0].closed


def test_an_object_lost_midway_shows_at_the_end() -> None:
    found = follow_loop(TiringTracker(), 120, "mask", 0, STANDING, SIZE, scored=30)
    assert found.first[3] > 0.3
    assert found.last[3] == 0.0
