"""Token buckets: how fast they fill, and how many are kept."""

from __future__ import annotations

import pytest

from streamer.runtime.token_buckets import TokenBuckets
from tests.streamer.fakes import FakeClock


def test_bucket_fills_at_its_rate_up_to_the_burst() -> None:
    clock = FakeClock()
    buckets = TokenBuckets(2.0, 2.0, clock, 8)
    assert [buckets.take("gate") for _ in range(3)] == [0.0, 0.0, 0.5]
    clock.advance(0.5)
    assert buckets.take("gate") == 0.0
    clock.advance(0.1)
    assert buckets.take("gate") == pytest.approx(0.4)
    assert buckets.take("yard") == 0.0
    clock.advance(100.0)
    assert [buckets.take("gate") == 0.0 for _ in range(5)].count(True) == 2


def test_number_of_buckets_is_bounded() -> None:
    buckets = TokenBuckets(1.0, 1.0, FakeClock(), 8)
    for number in range(20):
        assert buckets.take(number) == 0.0
    assert len(buckets) == 8
    assert buckets.take(0) == 0.0  # forgotten, and full again
    assert buckets.take(19) > 0
