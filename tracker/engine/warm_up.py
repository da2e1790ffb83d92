"""Runs everything that a stream will ask of a tracker before there is a stream.

The first call of everything is slow: libraries load, kernels are chosen, tables are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

# Called with the number of calls done and of all calls.
Progress = Callable[[int, int], None]
Call = Callable[[], object]


def warm_up(
    image_sizes: Sequence[int],
    at_image_size: Callable[[int], AbstractContextManager[None]],
    calls: Sequence[Call],
    first_steps: Callable[[], AbstractContextManager[Sequence[Call]]],
    progress: Progress | None = None,
) -> None:
    """At each image size, run ``calls`` and then the steps that ``first_steps`` opens.

    ``calls`` have fixed shapes. ``first_steps`` must yield equally many steps at every size.
    """
    done = 0
    for image_size in image_sizes:
        with at_image_size(image_size), first_steps() as steps:
            total = len(image_sizes) * (len(calls) + len(steps))
            for call in (*calls, *steps):
                call()
                done += 1
                if progress is not None:
                    progress(done, total)
