"""Shares the device's capacity among streams: a policy in plain Python."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

FLOORS_SHARE = 0.5


class OverloadPolicy(StrEnum):
    """How streams share a device that is too slow for all of them."""

    NEWEST = "newest"  # in turn, as many as possible; superseded frames are lost
    LOWER_RATE = "lower_rate"  # all down to one common rate
    PRIORITY_FIRST = "priority_first"  # the lowest priority is reduced first
    SMALLER_IMAGE = "smaller_image"  # all at a smaller image size, then as NEWEST


@dataclass(frozen=True, slots=True)
class Demand:
    """A stream's demand: frames per second, at a priority (higher is served first)."""

    rate_hz: float
    priority: int = 0


def rate_shares(
    demands: Mapping[str, Demand],
    capacity_hz: float,
    policy: OverloadPolicy,
    floor_hz: float,
) -> dict[str, float]:
    """The rate of each stream: its demand, or less, so that the sum is ``capacity_hz``.

    Every stream gets ``fitting_floor_hz``, or its demand if that is lower. With ``LOWER_RATE``
    (and the policies that reach the same by taking turns) all lowered streams get one common rate;
    with ``PRIORITY_FIRST`` a priority gets more than its floors only when all higher ones have
    their full demand, and shares it as above.
    """
    floor_hz = fitting_floor_hz(demands, capacity_hz, floor_hz)
    floors = {name: min(demand.rate_hz, floor_hz) for name, demand in demands.items()}
    if policy is not OverloadPolicy.PRIORITY_FIRST:
        return _with_common_rate(demands, demands.keys(), floors, capacity_hz)
    shares = dict(floors)
    by_priority = sorted(demands, key=lambda name: -demands[name].priority)
    left_hz = capacity_hz - sum(floors.values())
    for _, names in groupby(by_priority, key=lambda name: demands[name].priority):
        group = list(names)
        budget_hz = max(left_hz, 0.0) + sum(floors[name] for name in group)
        shares |= _with_common_rate(demands, group, floors, budget_hz)
        left_hz = budget_hz - sum(shares[name] for name in group)
    return shares


def fitting_floor_hz(demands: Mapping[str, Demand], capacity_hz: float, floor_hz: float) -> float:
    """The rate guaranteed to every stream: ``floor_hz``, or less if capacity is too low.

    All floors together take at most half of the capacity: the rest is for higher priorities.
    """
    asking = sum(demand.rate_hz > 0 for demand in demands.values())
    return min(floor_hz, FLOORS_SHARE * capacity_hz / max(asking, 1))


def _with_common_rate(
    demands: Mapping[str, Demand],
    names: Collection[str],
    floors: Mapping[str, float],
    capacity_hz: float,
) -> dict[str, float]:
    """Serve the smallest demand first; the rest of its share goes to the others."""
    shares: dict[str, float] = {}
    left_hz = capacity_hz
    ascending = sorted(names, key=lambda name: demands[name].rate_hz)
    for place, name in enumerate(ascending):
        common_hz = left_hz / (len(ascending) - place)
        shares[name] = max(floors[name], min(demands[name].rate_hz, common_hz))
        left_hz -= shares[name]
    return shares
