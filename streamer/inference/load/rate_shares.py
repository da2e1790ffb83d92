"""Who gives up how much when the device cannot track every frame: a policy in plain Python."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

FLOORS_SHARE = 0.5


class OverloadPolicy(StrEnum):
    """How streams share a device that is too slow for all of them."""

    NEWEST = "newest"  # in turn, as many as the device can: what is superseded is lost
    LOWER_RATE = "lower_rate"  # all down to one common rate
    PRIORITY_FIRST = "priority_first"  # the highest priority keeps its rate, the lowest gives
    SMALLER_IMAGE = "smaller_image"  # all at a smaller image size, and in turn where that is not it


@dataclass(frozen=True, slots=True)
class Demand:
    """What a stream asks for: frames a second, at a priority (a larger number is served first)."""

    rate_hz: float
    priority: int = 0


def rate_shares(
    demands: Mapping[str, Demand],
    capacity_hz: float,
    policy: OverloadPolicy,
    floor_hz: float,
) -> dict[str, float]:
    """The rate of each stream: what it asks for, or less, so that the sum is ``capacity_hz``.

    Every stream gets ``fitting_floor_hz``, or what it asks for where that is less. With
    ``LOWER_RATE`` (and the others, which come to the same without anybody's doing) those that are
    lowered get one common rate; with ``PRIORITY_FIRST`` a priority
    gets something beyond its floors only when all higher ones have all, and shares it as above.
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
    """The rate that every stream is promised: ``floor_hz``, or less where that is too much.

    All floors together take at most half of the capacity: otherwise there would be nothing left
    to give to those that go first.
    """
    asking = sum(demand.rate_hz > 0 for demand in demands.values())
    return min(floor_hz, FLOORS_SHARE * capacity_hz / max(asking, 1))


def _with_common_rate(
    demands: Mapping[str, Demand],
    names: Collection[str],
    floors: Mapping[str, float],
    capacity_hz: float,
) -> dict[str, float]:
    """Fill up from the smallest demand, which leaves what it does not need to the others."""
    shares: dict[str, float] = {}
    left_hz = capacity_hz
    ascending = sorted(names, key=lambda name: demands[name].rate_hz)
    for place, name in enumerate(ascending):
        common_hz = left_hz / (len(ascending) - place)
        shares[name] = max(floors[name], min(demands[name].rate_hz, common_hz))
        left_hz -= shares[name]
    return shares
