"""The rendered match behaves as a camera, and the same each time."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np

from streamer.config.streams import StreamConfig
from streamer.sources import make_source
from streamer.types import ClockSource, DropReason
from tests.streamer.sources.recorder import Recorder, RunningSource, run_to_end
from tracker.scenes.match import Match


def match_source(parameters: str, **settings: bool) -> Recorder:
    url = f"synthetic://match?width=128&height=96&{parameters}"
    output, error = run_to_end(make_source("match", StreamConfig(url=url, **settings)))  # type: ignore[arg-type]
    assert error is None
    return output


def test_unpaced_scene_gives_every_picture_of_the_match() -> None:
    output = match_source("seed=5&rate_hz=10&duration_s=1", paced=False)
    truth = Match(5, 128, 96, 10.0)
    assert len(output.frames) == 10
    for index, frame in enumerate(output.frames):
        np.testing.assert_array_equal(frame.pixels.rgb(), truth.render(index).image)
        assert frame.clock_source is ClockSource.SYNTHETIC
        assert frame.pts == index * 100_000
    times_ns = [frame.capture_time_ns for frame in output.frames]
    assert {later - earlier for earlier, later in pairwise(times_ns)} == {100_000_000}


def test_paced_scene_keeps_real_time_and_counts_what_it_left_out() -> None:
    started_s = time.monotonic()
    output = match_source("rate_hz=20&duration_s=1")
    assert 0.9 <= time.monotonic() - started_s < 5
    assert len(output.frames) + output.drops[DropReason.BEHIND] >= 20
    for frame in output.frames:
        assert abs(frame.arrival_time_ns - frame.capture_time_ns) < 1e9


def test_a_loop_begins_again_and_its_times_continue() -> None:
    url = "synthetic://match?width=128&height=96&rate_hz=10&duration_s=0.3"
    with RunningSource(
        make_source("match", StreamConfig(url=url, paced=False, loop=True))
    ) as source:
        frames = source.wait_for_frames(7)[:7]
    assert [frame.pts for frame in frames] == [index * 100_000 for index in range(7)]
    np.testing.assert_array_equal(frames[0].pixels.rgb(), frames[3].pixels.rgb())
    np.testing.assert_array_equal(frames[1].pixels.rgb(), frames[4].pixels.rgb())
