"""Identity switches: a mask that has gone over to somebody else, who is not meant.

MOT's counts (``identity.py``) see an exchange between followed objects only. Here the mask of
one object is compared with everybody in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracker.types import MaskArray

ELSEWHERE_SHARE = 0.5  # of the mask's pixels lie on one other thing
# Two who pass each other share a place for some frames; a mask that stays is a switch.
LONG_ENOUGH_FRAMES = 10


def lies_elsewhere(mask: MaskArray, own: MaskArray, others: Sequence[MaskArray]) -> bool:
    """Whether a mask (H, W) lies on another thing while its own object shows.

    More than ``ELSEWHERE_SHARE`` of its pixels belong to one other, and more of them than to its
    own object.
    """
    area = int(np.count_nonzero(mask))
    if area == 0 or not own.any():
        return False
    mine = int(np.count_nonzero(mask & own))
    most = max((int(np.count_nonzero(mask & other)) for other in others), default=0)
    return most > mine and most > ELSEWHERE_SHARE * area


def switched(elsewhere: Sequence[bool]) -> bool:
    """Whether a mask lay elsewhere for ``LONG_ENOUGH_FRAMES`` frames in a row."""
    run = 0
    for wrong in elsewhere:
        run = run + 1 if wrong else 0
        if run >= LONG_ENOUGH_FRAMES:
            return True
    return False
