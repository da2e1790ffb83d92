"""An object's life, from the tracker's word on each frame."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.lifecycle import ObjectLifecycle
from streamer.timing import seconds_to_ns
from tests.streamer.fakes import track
from tracker import TrackState

IMAGE = np.zeros((24, 32, 3), dtype=np.uint8)


class Life:
    """Drives one object through seconds."""

    def __init__(self, occluded_to_lost_s: float = 5.0) -> None:
        self.lifecycle = ObjectLifecycle(seconds_to_ns(occluded_to_lost_s))

    def at(self, time_s: float, *, hidden: bool) -> tuple[TrackState, list[str]]:
        tracks, changes = self.lifecycle.observe([track(7, IMAGE, hidden)], seconds_to_ns(time_s))
        assert all(change.object_id == 7 for change in changes)
        return tracks[0].state, [str(change.kind) for change in changes]


def test_object_is_added_hidden_found_and_lost() -> None:
    life = Life()
    assert life.at(0, hidden=False) == (TrackState.VISIBLE, ["added"])
    assert life.at(1, hidden=False) == (TrackState.VISIBLE, [])
    assert life.at(2, hidden=True) == (TrackState.OCCLUDED, ["occluded"])
    assert life.at(6.9, hidden=True) == (TrackState.OCCLUDED, [])
    assert life.at(7, hidden=False) == (TrackState.VISIBLE, ["reacquired"])
    assert life.at(8, hidden=True) == (TrackState.OCCLUDED, ["occluded"])
    assert life.at(13, hidden=True) == (TrackState.LOST, ["lost"])
    assert life.at(99, hidden=True) == (TrackState.LOST, [])
    assert life.at(100, hidden=False) == (TrackState.VISIBLE, ["reacquired"])


def test_object_that_is_hidden_at_first_is_added_and_occluded() -> None:
    assert Life().at(0, hidden=True) == (TrackState.OCCLUDED, ["added", "occluded"])


def test_hour_without_pictures_does_not_make_an_object_lost() -> None:
    life = Life()
    life.at(0, hidden=False)
    life.at(1, hidden=True)
    life.lifecycle.resume(seconds_to_ns(3600))
    assert life.at(3600, hidden=True) == (TrackState.OCCLUDED, [])
    assert life.at(3605, hidden=True) == (TrackState.LOST, ["lost"])


def test_clock_that_goes_back_loses_nothing_early() -> None:
    life = Life()
    life.at(100, hidden=False)
    life.at(101, hidden=True)
    assert life.at(0, hidden=True) == (TrackState.OCCLUDED, [])
    assert life.at(4.9, hidden=True) == (TrackState.OCCLUDED, [])
    assert life.at(5, hidden=True) == (TrackState.LOST, ["lost"])


@pytest.mark.parametrize("hidden", [False, True])
def test_forgotten_object_is_added_again(hidden: bool) -> None:
    life = Life()
    life.at(0, hidden=hidden)
    life.lifecycle.forget(7)
    assert life.at(1, hidden=False)[1] == ["added"]
