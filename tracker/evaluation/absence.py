"""Absences of an object: false masks meanwhile, and finding it again afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# An object is out of sight if less than this share of its area on the prompt's frame is visible,
# for at least this many frames.
OUT_OF_SIGHT_SHARE = 0.02
SHORTEST_GAP_FRAMES = 3
SHORTEST_SIGHT_FRAMES = 3  # less is a glimpse, not a return
REACQUIRED_JACCARD = 0.5
PROMPT_FRAMES = 10  # found within these frames counts as found at once


@dataclass(frozen=True, slots=True)
class Return:
    """An object visible again: the length of the absence, and the frames until it was found.

    ``reacquired_after`` is 0 if the first frame of the return is right, None if the object was not
    found before the clip ended or the object left again. ``watched``: frames of the return.
    """

    gone_frames: int
    reacquired_after: int | None
    watched: int

    @property
    def at_once(self) -> bool | None:
        """Whether it was found within ``PROMPT_FRAMES``; None if too few frames follow."""
        if self.reacquired_after is not None:
            return self.reacquired_after <= PROMPT_FRAMES
        return None if self.watched <= PROMPT_FRAMES else False


@dataclass(frozen=True, slots=True)
class Absence:
    """False masks over the ``frames`` frames on which the object is fully out of sight.

    ``claimed``: share of these frames with any mask; ``false_area``: mean area of the mask relative
    to the object's median visible area.
    """

    frames: int
    claimed: float
    false_area: float


def in_sight(areas: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The frames on which enough of the object is visible; the first is the prompt's."""
    all_areas = np.asarray(areas)
    return np.asarray(all_areas > OUT_OF_SIGHT_SHARE * all_areas[0])


def seen_again(seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The visible frames after an absence of some length."""
    result = np.zeros_like(seen)
    gap, returned = 0, False
    for index, here in enumerate(seen):
        returned |= bool(here) and gap >= SHORTEST_GAP_FRAMES
        gap = 0 if here else gap + 1
        result[index] = here and returned
    return result


def returns(seen: npt.NDArray[np.bool_], jaccards: Sequence[float]) -> list[Return]:
    """All returns of an object, from its visibility and J by frame."""
    found: list[Return] = []
    gap = 0
    for index, here in enumerate(seen):
        if here and gap >= SHORTEST_GAP_FRAMES:
            gone_again = np.flatnonzero(~seen[index:])
            stop = index + int(gone_again[0]) if gone_again.size else len(seen)
            right = np.flatnonzero(np.asarray(jaccards[index:stop]) >= REACQUIRED_JACCARD)
            if stop - index >= SHORTEST_SIGHT_FRAMES:
                found.append(Return(gap, int(right[0]) if right.size else None, stop - index))
        gap = 0 if here else gap + 1
    return found


def absence(areas: Sequence[int], mask_areas: Sequence[int]) -> Absence | None:
    """False masks on the frames without a true pixel; None if there is no such frame."""
    true_area, mask_area = np.asarray(areas), np.asarray(mask_areas)
    gone = true_area == 0
    if not gone.any():
        return None
    usual = float(np.median(true_area[~gone]))
    return Absence(
        frames=int(gone.sum()),
        claimed=float((mask_area[gone] > 0).mean()),
        false_area=float(mask_area[gone].mean() / usual),
    )
