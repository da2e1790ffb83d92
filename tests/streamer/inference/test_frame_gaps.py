"""Untracked pictures, as reported to the tracker."""

from __future__ import annotations

from streamer.inference.frame_gaps import MOST_FRAMES, FrameGaps
from streamer.runtime.clock import seconds_to_ns
from streamer.types import Frame
from tests.streamer.fakes import picture


class Stream:
    """Tracks every frame it is given, 25 a second by default."""

    def __init__(self) -> None:
        self.gaps = FrameGaps()

    def frame(self, index: int, time_s: float | None = None, session: str = "one") -> int:
        frame = Frame("gate", session, index, picture(index))
        time_ns = seconds_to_ns(index / 25 if time_s is None else time_s)
        missed = self.gaps.missed(frame, time_ns)
        self.gaps.tracked(frame, time_ns)
        return missed


def test_frame_numbers_left_out_are_the_gap() -> None:
    stream = Stream()
    assert [stream.frame(index) for index in (5, 6, 7, 10, 11)] == [0, 0, 0, 2, 0]


def test_frame_that_failed_belongs_to_the_gap() -> None:
    stream = Stream()
    stream.frame(0)
    failed = Frame("gate", "one", 1, picture(1))
    assert stream.gaps.missed(failed, seconds_to_ns(0.04)) == 0
    assert stream.frame(2) == 1


def test_outage_is_counted_in_pictures_of_the_usual_spacing() -> None:
    stream = Stream()
    for index in range(20):
        stream.frame(index)
    assert stream.frame(20, 0.76 + 10.0, session="two") == 249
    assert stream.frame(21, 0.80 + 10.0, session="two") == 0


def test_jump_back_in_time_counts_as_a_second() -> None:
    stream = Stream()
    for index in range(20):
        stream.frame(index)
    assert stream.frame(20, time_s=0.0) == 24


def test_connection_that_ends_before_its_spacing_is_known_is_some_gap() -> None:
    stream = Stream()
    stream.frame(0)
    assert stream.frame(1, 500.0, session="two") == 1


def test_week_without_pictures_stays_within_bounds() -> None:
    stream = Stream()
    for index in range(20):
        stream.frame(index)
    assert stream.frame(20, 7 * 86_400.0, session="two") == MOST_FRAMES
