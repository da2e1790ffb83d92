"""A source that always gives the same clips."""

from __future__ import annotations

import torch

from tracker.training.clip import ClipBatch
from tracker.training.recipe import Phase


class OneBatch:
    """A ``ClipSource`` for tests in which a network overfits one batch."""

    def __init__(self, batch: ClipBatch) -> None:
        self.batch = batch

    def clips(
        self, phase: Phase, motion: float, count: int, generator: torch.Generator
    ) -> ClipBatch:
        """The batch, whatever the arguments."""
        del phase, motion, count, generator
        return self.batch
