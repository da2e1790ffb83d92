"""Boxes that tremble less, and how far they trail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.inference.box_smoothing import BoxSmoother, BoxSmoothing
from streamer.runtime.clock import seconds_to_ns
from tests.streamer.fakes import track
from tracker import Track

IMAGE = np.zeros((720, 1280, 3), dtype=np.uint8)
RATE_HZ = 25


def at(object_id: int, x: float, y: float, side: float = 60.0) -> Track:
    """An object of 60 pixels."""
    box = (round(x), round(y), round(x + side), round(y + side))
    return replace(track(object_id, IMAGE), box_xyxy=box, area=1)


def test_trembling_at_rest_is_a_third_and_the_place_is_true() -> None:
    random = np.random.default_rng(3)
    smoother = BoxSmoother(BoxSmoothing())
    raw, smooth = [], []
    for number in range(500):
        seen = at(1, 300 + random.normal(0, 2), 200 + random.normal(0, 2))
        raw.append(seen.box_xyxy[0])
        smooth.append(smoother.smooth([seen], seconds_to_ns(number / RATE_HZ))[1][0])
    trembles = [np.abs(np.diff(each[50:])).mean() for each in (raw, smooth)]
    assert trembles[1] < trembles[0] / 3
    assert np.mean(smooth[50:]) == pytest.approx(300, abs=0.5)


@pytest.mark.parametrize("speed", [0.5, 1.0, 4.0])
def test_moving_box_trails_by_the_stated_lag(speed: float) -> None:
    smoothing = BoxSmoothing()
    smoother = BoxSmoother(smoothing)
    pixels_s = speed * 60
    for number in range(100):
        true_x = 50 + pixels_s * number / 100
        box = smoother.smooth([at(1, true_x, 0)], seconds_to_ns(number / 100))[1]
    lag_s = (true_x - box[0]) / pixels_s
    assert lag_s == pytest.approx(smoothing.lag_s(speed), abs=0.012)


def test_objects_do_not_touch_one_another_and_come_in_any_order() -> None:
    together, alone = BoxSmoother(BoxSmoothing()), BoxSmoother(BoxSmoothing())
    for number in range(20):
        time_ns = seconds_to_ns(number / RATE_HZ)
        tracks = [at(1, 10 + number % 3, 20), at(2, 400 + 9 * number, 50)]
        found = together.smooth(tracks[:: 1 if number % 2 else -1], time_ns)
        assert found[1] == alone.smooth(tracks[:1], time_ns)[1]


def test_object_that_was_away_prompted_or_long_ago_restarts() -> None:
    smoother = BoxSmoother(BoxSmoothing())
    away = replace(at(1, 0, 0), area=0)
    assert smoother.smooth([at(1, 0, 0)], 0)[1][0] == 0
    assert smoother.smooth([away], seconds_to_ns(0.04)) == {}
    assert smoother.smooth([at(1, 500, 0)], seconds_to_ns(0.08))[1][0] == 500
    assert smoother.smooth([at(1, 520, 0)], seconds_to_ns(0.12))[1][0] < 520
    smoother.restart(1)
    assert smoother.smooth([at(1, 540, 0)], seconds_to_ns(0.16))[1][0] == 540
    assert smoother.smooth([at(1, 100, 0)], seconds_to_ns(9))[1][0] == 100
    assert smoother.smooth([at(1, 300, 0)], seconds_to_ns(2))[1][0] == 300  # a clock set back


def test_pictures_of_another_size_restart() -> None:
    smoother = BoxSmoother(BoxSmoothing())
    smoother.smooth([at(1, 100, 50)], 0)
    large = replace(at(1, 200, 100), frame_width=1280, frame_height=960)
    assert smoother.smooth([large], seconds_to_ns(0.04))[1][:2] == (200, 100)
    moved = replace(large, box_xyxy=(210, 100, 270, 160))
    assert 200 < smoother.smooth([moved], seconds_to_ns(0.08))[1][0] < 210
