"""A tracker goes through what a stream will ask of it before there is a stream.

The first call of everything is slow: libraries load, kernels are chosen, tables are filled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tracker.types import Prompt

if TYPE_CHECKING:
    from tracker.tracker import Tracker

# Called with the steps done and the steps in all.
Progress = Callable[[int, int], None]

# A prompted frame and two tracked ones: the second is the first to remember a tracked one.
_FRAMES = 3


def warm_up(tracker: Tracker, progress: Progress | None = None) -> None:
    """Follow an object through a few grey frames in a session that is closed again.

    Nothing that is tracked is touched. Needs a free slot, and does nothing without one.
    """
    if not tracker.free_slots:
        return
    side = tracker.config.image_size
    grey = np.full((side, side, 3), 128, np.uint8)
    click = Prompt(0, points_xy=((side / 2, side / 2),), point_labels=(1,))
    session = tracker.open_session(max_objects=1)
    try:
        for frame in range(_FRAMES):
            tracker.step([(session, tracker.prepare(grey), [click] if frame == 0 else [])])
            if progress is not None:
                progress(frame + 1, _FRAMES)
    finally:
        session.close()
