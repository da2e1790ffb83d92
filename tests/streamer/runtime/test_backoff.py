"""The waits between attempts grow, are capped, and start again after a good connection."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config.streams import ReconnectConfig
from streamer.runtime.backoff import Backoff

CONFIG = ReconnectConfig(initial_s=1, maximum_s=10, factor=2, jitter=0, reset_after_s=30)


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(CONFIG, Random(0))
    assert [backoff.next_delay_s(0) for _ in range(6)] == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(("connected_for_s", "delay_s"), [(29, 4), (30, 1), (9999, 1)])
def test_connection_that_held_starts_the_series_again(
    connected_for_s: float, delay_s: float
) -> None:
    backoff = Backoff(CONFIG, Random(0))
    backoff.next_delay_s(0)
    backoff.next_delay_s(0)
    assert backoff.next_delay_s(connected_for_s) == delay_s


@given(seed=st.integers(), attempts=st.integers(1, 2000), jitter=st.floats(0, 1))
def test_waits_stay_within_jitter_and_cap(seed: int, attempts: int, jitter: float) -> None:
    config = ReconnectConfig(initial_s=1, maximum_s=60, factor=10, jitter=jitter)
    backoff = Backoff(config, Random(seed))
    delays = [backoff.next_delay_s(0) for _ in range(attempts)]
    assert 1 - jitter <= delays[0] <= 1 + jitter
    assert all(0 <= delay <= 60 for delay in delays)
    assert all(delay >= 60 * (1 - jitter) for delay in delays[2:])


def test_cameras_that_vanished_together_come_back_apart() -> None:
    config = ReconnectConfig(initial_s=1, jitter=0.2)
    delays = {Backoff(config, Random(seed)).next_delay_s(0) for seed in range(20)}
    assert len(delays) == 20
