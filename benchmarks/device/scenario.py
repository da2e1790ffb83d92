"""Our tracker with random weights, and streams whose objects have full memories."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.device.scale import Scale
from tests.tracker.agreement.scripts import model_with, picture, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import ModelConfig, Prompt, RobustOptions, Tracker, TrackerOptions
from tracker.options import EngineOptions

# Objects stay visible with these weights, and are remembered whatever their predicted IoU.
_SCORE_BIAS = 10.0
REMEMBER_ALL = RobustOptions(skip_absent=False, write_iou=0.0, return_iou=0.0)


def tracker_of(
    scale: Scale,
    config: ModelConfig,
    policy: str = "sam2",
    *,
    most: int | None = None,
    dtype: str | None = None,
    engine: dict[str, Any] | None = None,
    robust: RobustOptions | None = None,
) -> tuple[Tracker, float]:
    """A warm tracker of up to ``most`` objects, and the seconds of its warm-up."""
    weights = amplified_weights(shapes_of(config), seed=0, object_score_bias=_SCORE_BIAS)
    tracker = Tracker(
        model_with(config, weights),
        torch.device(scale.device),
        TrackerOptions(
            max_objects=most or max(scale.objects),
            memory_policy=policy,  # type: ignore[arg-type]
            compute_dtype=dtype or scale.dtype,  # type: ignore[arg-type]
            engine=EngineOptions(**(engine or {})),
            robust=robust or REMEMBER_ALL,
        ),
    )
    begun = time.perf_counter()
    tracker.warm_up()
    return tracker, time.perf_counter() - begun


class Streams:
    """``streams`` sessions with ``objects`` in all; the first steps fill their memories."""

    def __init__(self, tracker: Tracker, scale: Scale, objects: int, streams: int) -> None:
        self._tracker = tracker
        self._sessions = [tracker.open_session() for _ in range(streams)]
        self.images = [picture(seed, scale.height, scale.width) for seed in range(1, 5)]
        self._prepared = [tracker.prepare(image) for image in self.images]
        self._number = 0
        each = objects // streams
        prompts = [Prompt(place + 1, box_xyxy=_box(place, scale)) for place in range(each)]
        tracker.step([(session, self.images[0], prompts) for session in self._sessions])
        config = tracker.config
        full = max(config.recent_memories, config.recent_pointers)
        for _ in range(full if not scale.rehearsal else 1):
            self.step()

    def batch(self, prepared: bool = True) -> list[Any]:
        """The next frame of every stream."""
        self._number += 1
        image = (self._prepared if prepared else self.images)[self._number % len(self.images)]
        return [(session, image, []) for session in self._sessions]

    def step(self, prepared: bool = True) -> None:
        """One step, waited for."""
        self._tracker.step(self.batch(prepared))

    def step_ahead(self, before: Any) -> Any:
        """Submit the next step, then collect the one before."""
        pending = self._tracker.submit(self.batch())
        if before is not None:
            before.collect()
        return pending

    def submit(self) -> Callable[[], object]:
        """Begin a step; the result ends it."""
        return self._tracker.submit(self.batch()).collect

    def close(self) -> None:
        """Give the objects' slots back."""
        for session in self._sessions:
            session.close()


def _box(place: int, scale: Scale) -> tuple[float, float, float, float]:
    """Eight by eight of them fill the picture."""
    side_x, side_y = scale.width / 8, scale.height / 8
    left, top = side_x * (place % 8), side_y * (place // 8)
    return left, top, left + 0.9 * side_x, top + 0.9 * side_y
