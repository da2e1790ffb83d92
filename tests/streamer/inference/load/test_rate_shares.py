"""Streams share what the device can do: evenly, or by priority, and none below its floor."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.load.rate_shares import (
    Demand,
    OverloadPolicy,
    fitting_floor_hz,
    rate_shares,
)

demands = st.dictionaries(
    st.sampled_from([f"cam{number}" for number in range(12)]),
    st.builds(Demand, st.floats(0, 120) | st.just(math.inf), st.integers(0, 3)),
    min_size=1,
)
policies = st.sampled_from(OverloadPolicy)


@given(demands=demands, capacity_hz=st.floats(0.1, 500), policy=policies, floor_hz=st.floats(0, 5))
def test_shares_are_sound_in_every_situation(
    demands: dict[str, Demand], capacity_hz: float, policy: OverloadPolicy, floor_hz: float
) -> None:
    shares = rate_shares(demands, capacity_hz, policy, floor_hz)
    floor_hz = fitting_floor_hz(demands, capacity_hz, floor_hz)
    floors = {name: min(floor_hz, demand.rate_hz) for name, demand in demands.items()}
    assert shares.keys() == demands.keys()
    for name, share in shares.items():
        assert floors[name] <= share <= demands[name].rate_hz
    wanted = sum(demand.rate_hz for demand in demands.values())
    assert sum(shares.values()) == pytest.approx(min(wanted, capacity_hz))
    for one in demands:
        for other in demands:
            is_before = demands[one].priority > demands[other].priority
            if policy is OverloadPolicy.PRIORITY_FIRST and is_before:
                # The higher priority loses nothing while the other is above its floor.
                assert shares[one] == pytest.approx(demands[one].rate_hz) or shares[
                    other
                ] == pytest.approx(floors[other])
            elif demands[one].rate_hz <= demands[other].rate_hz and (
                policy is OverloadPolicy.LOWER_RATE
                or demands[one].priority == demands[other].priority
            ):
                assert shares[one] <= shares[other] + 1e-6


def test_common_rate_leaves_slow_streams_alone() -> None:
    asked = {"a": Demand(30), "b": Demand(30), "c": Demand(2)}
    shares = rate_shares(asked, 22, OverloadPolicy.LOWER_RATE, 1)
    assert shares == {"c": 2, "a": 10, "b": 10}


def test_lowest_priority_gives_first_and_keeps_its_floor() -> None:
    asked = {"gate": Demand(30, 9), "hall": Demand(30, 5), "yard": Demand(30, 1)}
    shares = rate_shares(asked, 45, OverloadPolicy.PRIORITY_FIRST, 1)
    assert shares == {"gate": 30, "hall": 14, "yard": 1}


def test_floors_leave_half_to_those_that_go_first() -> None:
    asked = {"gate": Demand(5, 9), **{f"cam{number}": Demand(5, 0) for number in range(15)}}
    shares = rate_shares(asked, 6, OverloadPolicy.PRIORITY_FIRST, 1)
    assert shares.pop("gate") == pytest.approx(3 + 3 / 16)
    assert shares == pytest.approx(dict.fromkeys(shares, 3 / 16))
