"""A tracker goes through what a stream will ask of it before there is a stream.

The first call of everything is slow: libraries load, kernels are chosen, tables are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from tracker.types import Prompt

if TYPE_CHECKING:
    from tracker.tracker import Tracker

# Called with the steps done and the steps in all.
Progress = Callable[[int, int], None]

# A prompted frame and two tracked ones: the second is the first to remember a tracked one.
_FRAMES = 3


def warm_up(
    tracker: Tracker, calls: Sequence[Callable[[], object]], progress: Progress | None = None
) -> None:
    """Make these calls, those of fixed shapes; then follow an object through a few grey frames.

    Nothing that is tracked is touched: the frames have a session of their own, which is closed
    again; without a free slot they are left out.
    """
    frames = _FRAMES if tracker.free_slots else 0
    total = len(calls) + frames
    for done, call in enumerate(chain(calls, _steps(tracker, frames)), start=1):
        call()
        if progress is not None:
            progress(done, total)


def _steps(tracker: Tracker, frames: int) -> Iterator[Callable[[], object]]:
    if not frames:
        return
    side = tracker.config.image_size
    grey = tracker.prepare(np.full((side, side, 3), 128, np.uint8))
    click = Prompt(0, points_xy=((side / 2, side / 2),), point_labels=(1,))
    session = tracker.open_session(max_objects=1)
    try:
        yield lambda: tracker.step([(session, grey, [click])])
        for _ in range(frames - 1):
            yield lambda: tracker.step([(session, grey, [])])
    finally:
        session.close()
