"""How much of a worker a stream takes: from what ``masklet bench`` measured on its kind."""

from __future__ import annotations

import math
from itertools import pairwise

from streamer.fleet.view import Capacity


def share_of(capacity: Capacity, objects: int, maximum_rate_hz: float | None) -> float:
    """The share of a worker that a stream with so many objects takes; 1.0 is all of it.

    Where n streams with k objects are carried, one takes 1 / n; between two measured k the share
    is interpolated, and beyond the last extended at the same slope: a step costs a part for the
    picture and a part for each object (docs/architecture.md). A stream of a lower rate takes less
    in proportion. Infinite where not even one such stream is carried.
    """
    shares = [(count, 1 / streams if streams else math.inf) for count, streams in capacity.carried]
    objects = max(objects, 1)
    rate = 1.0 if maximum_rate_hz is None else min(1.0, maximum_rate_hz / capacity.rate_hz)
    first, last = shares[0], shares[-1]
    if objects <= first[0]:
        return rate * first[1]
    for (low, low_share), (high, high_share) in pairwise(shares):
        if objects == high or math.isinf(high_share):
            if objects <= high:
                return rate * (high_share if objects > low else low_share)
        elif objects < high:
            return rate * (low_share + (high_share - low_share) * (objects - low) / (high - low))
    before = shares[-2] if len(shares) > 1 else (0, 0.0)
    slope = max(0.0, (last[1] - before[1]) / (last[0] - before[0]))
    return rate * (last[1] + slope * (objects - last[0]))
