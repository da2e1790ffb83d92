"""A tracker goes through what a stream will ask of it before there is a stream.

The first call of everything is slow: libraries load, kernels are chosen, tables are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
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
    tracker: Tracker,
    calls: Sequence[Callable[[], object]],
    at_image_size: Callable[[int], AbstractContextManager[None]],
    progress: Progress | None = None,
) -> None:
    """Make these calls, those of fixed shapes; then follow an object through a few grey frames.

    All of it at each of the tracker's image sizes, with ``at_image_size``.
    Nothing that is tracked is touched: the frames have a session of their own, which is closed
    again; without a free slot they are left out.
    """
    frames = _FRAMES if tracker.free_slots else 0
    total = len(tracker.image_sizes) * (len(calls) + frames)
    done = 0
    for image_size in tracker.image_sizes:
        with at_image_size(image_size):
            for call in chain(calls, _steps(tracker, frames)):
                call()
                done += 1
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
