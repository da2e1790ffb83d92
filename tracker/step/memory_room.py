"""Goes on where a device runs out of memory: smaller batches first, then a smaller image."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from tracker.engine.engine import Engine
from tracker.engine.image_sizes import next_smaller
from tracker.engine.out_of_memory import is_out_of_memory
from tracker.memory.bank import MemoryBank
from tracker.step.resizing import Resizer

T = TypeVar("T")
_log = logging.getLogger(__name__)


class MemoryRoom:
    """Repeats operations that change nothing when they fail. Created by the tracker.

    What was given up stays so until the next start: who used the memory may come back.
    """

    def __init__(
        self,
        engine: Engine,
        bank: MemoryBank,
        resizer: Resizer,
        finish: Callable[[], None],
        warm_again: Callable[[], None],
    ) -> None:
        """``finish`` ends the steps in flight; ``warm_again`` warms up what was dropped."""
        self._engine = engine
        self._bank = bank
        self._resizer = resizer
        self._finish = finish
        self._warm_again = warm_again
        # The largest image that fits, as far as is known.
        self._largest = max(engine.image_sizes)

    def within(self, operation: Callable[[], T]) -> T:
        """Its result. Raises torch.OutOfMemoryError if not even the least fits."""
        is_cold = False
        while True:
            try:
                if is_cold:
                    self._warm_again()
                return operation()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = _first_line(error)
            # Out of the handler: the traceback holds the tensors of the failed operation.
            self._give_up_something(reason)
            is_cold = True

    def make_room(self, error: BaseException) -> None:
        """Give up something after a lack of memory that was met outside of ``within``."""
        self._give_up_something(_first_line(error))
        self.within(self._warm_again)

    def fitting(self, image_size: int) -> int:
        """This image size, or the largest that fits where that is smaller."""
        return min(image_size, self._largest)

    def _give_up_something(self, reason: str) -> None:
        self._finish()
        if (most := self._engine.use_smaller_batches()) is not None:
            _log.warning(
                "out of memory; batches of at most %d objects and images from here on, which "
                "takes more time: %s",
                most,
                reason,
            )
            return
        before = self._engine.image_size
        image_size = next_smaller(
            before, self._engine.image_sizes, self._engine.model.config.image_size_step
        )
        if image_size is None:
            raise torch.OutOfMemoryError(
                f"one object at {before} pixels does not fit the device: {reason}"
            )
        if image_size not in self._engine.image_sizes:
            self._bank.add_image_sizes((image_size,))
            self._engine.add_image_size(image_size)
        self._resizer.resize(image_size)
        self._largest = image_size
        _log.warning(
            "out of memory; images of %d instead of %d pixels from here on, whose masks are less "
            "exact: %s",
            image_size,
            before,
            reason,
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
