"""Jumps of presentation time are distinguished from pauses; a pacer keeps real time."""

from __future__ import annotations

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from streamer.sources.presentation_time import DiscontinuityWatch, Pacer


@given(st.lists(st.floats(0, 3600), min_size=1, max_size=50), st.floats(-2, 2))
def test_time_that_really_passed_is_no_jump(steps_s: list[float], jitter_s: float) -> None:
    """A pause of an hour or packet jitter is no jump."""
    watch = DiscontinuityWatch()
    now_s = 0.0
    for index, step_s in enumerate(steps_s):
        now_s += step_s
        assert watch.observe(now_s, 1e6 + now_s + (index % 2) * jitter_s) is None


def test_going_back_and_jumping_ahead_are_reported_once() -> None:
    watch = DiscontinuityWatch()
    assert watch.observe(100.0, 0.0) is None
    assert watch.observe(100.04, 0.04) is None
    assert watch.observe(5.0, 0.08) == "presentation time went back by 95.040 s"
    assert watch.observe(5.04, 0.12) is None
    assert watch.observe(905.04, 0.16) == "presentation time jumped ahead by 900.000 s"
    assert watch.observe(905.08, 0.20) is None


def test_a_time_lapse_jumps_once_at_most() -> None:
    watch = DiscontinuityWatch()
    jumps = [watch.observe(time_s, 0.0) for time_s in (0.0, 30.0, 60.0, 92.0, 120.0, 121.0, 151.0)]
    assert [index for index, jump in enumerate(jumps) if jump] == [1, 6]


def test_pacer_keeps_real_time() -> None:
    pacer, stop = Pacer(), threading.Event()
    started_s = time.monotonic()
    for index in range(6):
        pacer.wait(50.0 + index * 0.05, stop)
    assert 0.24 <= time.monotonic() - started_s < 2.0


def test_pacer_does_not_wait_out_a_jump_nor_hurry_after_a_delay() -> None:
    pacer, stop = Pacer(), threading.Event()
    started_s = time.monotonic()
    for presentation_s in (0.0, 3600.0, 5.0, 5.0):
        pacer.wait(presentation_s, stop)
    assert time.monotonic() - started_s < 1.0

    slow = Pacer()
    slow.wait(0.0, stop)
    time.sleep(1.1)  # longer than it would hurry for
    slow.wait(0.02, stop)
    resumed_s = time.monotonic()
    slow.wait(0.12, stop)
    assert time.monotonic() - resumed_s >= 0.09


def test_pacer_ends_its_wait_when_stopped() -> None:
    pacer, stop = Pacer(), threading.Event()
    pacer.wait(0.0, stop)
    stop.set()
    started_s = time.monotonic()
    pacer.wait(9.0, stop)
    assert time.monotonic() - started_s < 2.0
