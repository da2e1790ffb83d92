"""Runs everything that a stream will ask of a tracker before there is a stream.

The first call of everything is slow: libraries load, kernels are chosen, tables are filled, graphs
are captured. What every stream needs is run at the start; what is rare, and image sizes other than
the first, a call at a time between steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

# Called with the number of calls done and of all calls.
Progress = Callable[[int, int], None]
Call = Callable[[], object]


class WarmUp:
    """Bound: the calls of one warm-up; each goes when it was made."""

    def __init__(
        self,
        at_image_size: Callable[[int], AbstractContextManager[None]],
        calls: Callable[[], tuple[Sequence[Call], Sequence[Call]]],
        first_steps: Callable[[], AbstractContextManager[Sequence[Call]]],
    ) -> None:
        """``calls`` are those of fixed shapes, to wait for and rare ones, of any image size."""
        self._at_image_size = at_image_size
        self._calls = calls
        self._first_steps = first_steps
        self._later: deque[tuple[int, Call]] = deque()

    def run(
        self, image_size: int, others: Sequence[int] = (), progress: Progress | None = None
    ) -> None:
        """Run what every stream needs at this size, and put off the rest and the ``others``."""
        first, later = self._calls()
        with self._first_steps() as steps:
            total = len(first) + len(steps)
            for done, call in enumerate((*first, *steps), start=1):
                call()
                if progress is not None:
                    progress(done, total)
        self._later = deque((image_size, call) for call in later)
        for other in others:
            self._later += [(other, call) for call in (*first, self._all_first_steps, *later)]

    @property
    def left(self) -> int:
        """The number of calls that were put off and not made yet."""
        return len(self._later)

    def next(self) -> None:
        """Make one of the calls that were put off."""
        image_size, call = self._later.popleft()
        with self._at_image_size(image_size):
            call()

    def put_off_for_good(self) -> None:
        """Forget the calls that were not made."""
        self._later.clear()

    def _all_first_steps(self) -> None:
        with self._first_steps() as steps:
            for step in steps:
                step()
