"""Makes every call that a step may ask of the engine, on blank rows, so that it is warm.

Writes are rehearsed: each place keeps what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from tracker.engine.engine import Engine
from tracker.memory.bank import MemoryBank
from tracker.policy.decision import MaskDecision
from tracker.policy.robust import RobustPolicy
from tracker.step.comparing import compared
from tracker.step.finishing import Finisher
from tracker.step.row_decider import RowDecider
from tracker.step.row_kinds import CLICKED, CORRECTED, REFINED, TRACKED_FIRST, Kind

# Prompts of up to this many points are worth a graph; a box has two.
_USUAL_POINTS = 4
# Of these, what a start waits for: one point, or a box.
_FIRST_POINTS = 2


class StepWarmUp:
    """Calls of steps, corrections and previews."""

    def __init__(
        self,
        engine: Engine,
        bank: MemoryBank,
        policy: RobustPolicy | None,
        decider: RowDecider,
        finisher: Finisher,
        *,
        packs: bool,
    ) -> None:
        """``packs``: whether masks are packed at once."""
        self._engine = engine
        self._bank = bank
        self._policy = policy
        self._decider = decider
        self._finisher = finisher
        self._packs = packs

    def images(self, count: int) -> None:
        """Everything that depends on so many images only."""
        pixels_B3SS = self._engine.blank(count)
        self._engine.warm_images(pixels_B3SS)
        if self._policy is not None:
            compared(self._engine, self._policy, pixels_B3SS, [None] * count)
        self._engine.run()

    def objects(self, count: int) -> None:
        """Everything that follows memory attention, for so many tracked objects."""
        engine, nobody = self._engine, np.zeros(count, np.int64)
        pixels_13SS = engine.blank(1)
        features = engine.encode_image(pixels_13SS)
        found = (
            None if self._policy is None else compared(engine, self._policy, pixels_13SS, [None])
        )
        scene = None if found is None else found.scene_B3
        prediction = None if self._policy is None else self._policy.predict(nobody, nobody)
        calls = self._decider.tracked_calls(
            np.arange(count),
            (np.arange(count), None, nobody, np.zeros(count, np.float32)),
            (engine.blank_conditioned(self._bank, count), None, *features),
        )
        places_N3 = np.zeros((count, 3), np.int64) if self._packs else None
        decision = MaskDecision(*engine.calls("decision", count, calls))
        others = scene, prediction, nobody, nobody, places_N3
        finished = self._finisher.finish(decision, features.stride16_BCHW, *others)
        memories = [each for each in finished.memories if each is not None]
        self._bank.rehearse(memories)
        if count == 1:
            self._finisher.preview(decision, *others)
        engine.run()

    def prompts(self) -> tuple[list[Callable[[], object]], list[Callable[[], object]]]:
        """Calls for prompts on one row: those that a start waits for, and others."""
        first: list[Callable[[], object]] = []
        later: list[Callable[[], object]] = []
        for points in range(1, _USUAL_POINTS + 1):
            for kind in (CLICKED, TRACKED_FIRST, REFINED, CORRECTED):
                calls = first if points <= _FIRST_POINTS else later
                calls.append(partial(self._prompt, kind, points))
        return first, later

    def _prompt(self, kind: Kind, points: int) -> None:
        engine, none = self._engine, np.zeros(1, np.int64)
        features = engine.encode_image(engine.blank(1))
        conditioned = engine.blank_conditioned(self._bank, 1) if kind.remembers else None
        side = engine.image_size // 4
        blank = torch.zeros(1, 1, side, side, device=features.stride16_BCHW.device)
        previous = engine.calls.table("previous", [blank]) if kind.previous else None
        calls = [
            self._decider.prompt_call(
                kind,
                none,
                (none, none, none, np.zeros(1, np.float32)),
                np.zeros((1, points, 2), np.float32),
                np.ones((1, points), np.int64),
                positive_K,
                (conditioned, previous, *features),
            )
            for positive_K in self._splits(points)
        ]
        for call in calls:
            engine.calls("decision", 1, [call])
        engine.run()

    def _splits(self, points: int) -> Iterator[np.ndarray | None]:
        """Without points beside the object, and with each number of them."""
        yield None
        if self._policy is not None:
            for positive in range(1, points):
                yield np.arange(points) < positive
