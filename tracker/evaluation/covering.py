"""How well objects are kept apart: the share of another object that a mask covers.

Region overlap hardly shows it: a dog's mask that runs over the ball beside it loses little of its
own J, but the ball is covered whole.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tracker.types import MaskArray

# A smaller part of an object says nothing: two pixels beside a mask are covered by its blur.
SMALLEST_PART = 0.0005  # of the picture


def covered(mask: MaskArray, others: Iterable[MaskArray]) -> float | None:
    """The share, 0..1, of the other true mask (H, W) that ``mask`` covers most.

    None if no other object is visible.
    """
    shares = [
        np.count_nonzero(mask & other) / area
        for other in others
        if (area := int(np.count_nonzero(other))) >= SMALLEST_PART * mask.size and area
    ]
    return float(max(shares)) if shares else None
