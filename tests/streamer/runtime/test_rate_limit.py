"""``max_rate_hz`` thins a stream evenly."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.runtime.clock import seconds_to_ns
from streamer.runtime.rate_limit import RateLimit


def passed(rate_hz: float, times_s: list[float]) -> list[float]:
    limit = RateLimit(rate_hz)
    return [time_s for time_s in times_s if limit.allows(seconds_to_ns(time_s))]


@pytest.mark.parametrize("jitter_s", [0.0, 0.003])
def test_half_the_rate_passes_every_second_frame_in_spite_of_jitter(jitter_s: float) -> None:
    rng = random.Random(1)
    times_s = [number / 30 + rng.uniform(-jitter_s, jitter_s) for number in range(600)]
    assert len(passed(15, times_s)) == pytest.approx(300, abs=2)


def test_slower_stream_passes_whole() -> None:
    times_s = [number / 10 for number in range(100)]
    assert passed(15, times_s) == times_s


def test_pause_or_a_jump_back_starts_anew() -> None:
    assert passed(10, [0, 0.01, 100, 100.01, 5, 5.01, 5.1]) == [0, 100, 5, 5.1]


@given(
    rate_hz=st.floats(0.5, 60),
    gaps_s=st.lists(st.floats(0.0005, 0.3), min_size=2, max_size=200),
)
def test_mean_rate_is_kept(rate_hz: float, gaps_s: list[float]) -> None:
    times_s = [0.0]
    for gap_s in gaps_s:
        times_s.append(times_s[-1] + gap_s)
    allowed = passed(rate_hz, times_s)
    # Restarts after pauses may each give one frame more; a pause lasts two periods at least.
    pauses = sum(later - earlier > 1.5 / rate_hz for earlier, later in itertools.pairwise(times_s))
    assert len(allowed) <= times_s[-1] * rate_hz + 2 + pauses
