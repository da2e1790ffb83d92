"""Identity switches: a mask that moved to another object.

MOT's counts (``identity.py``) cover exchanges between tracked objects only. Here an object's mask
is compared with every object in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracker.types import MaskArray

ELSEWHERE_SHARE = 0.5  # of the mask's pixels, on one other object
# Objects that pass each other overlap for some frames; a mask that stays is a switch.
LONG_ENOUGH_FRAMES = 10


def lies_elsewhere(mask: MaskArray, own: MaskArray, others: Sequence[MaskArray]) -> bool:
    """Whether a mask (H, W) lies on another object while its own is visible.

    More than ``ELSEWHERE_SHARE`` of its pixels belong to one other object, and more than to its
    own.
    """
    area = int(np.count_nonzero(mask))
    if area == 0 or not own.any():
        return False
    mine = int(np.count_nonzero(mask & own))
    most = max((int(np.count_nonzero(mask & other)) for other in others), default=0)
    return most > mine and most > ELSEWHERE_SHARE * area


def switched(elsewhere: Sequence[bool]) -> bool:
    """Whether a mask lay elsewhere for ``LONG_ENOUGH_FRAMES`` consecutive frames."""
    run = 0
    for wrong in elsewhere:
        run = run + 1 if wrong else 0
        if run >= LONG_ENOUGH_FRAMES:
            return True
    return False
