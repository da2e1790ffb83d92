"""Submits steps before the previous one was collected, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE
from tests.tracker.policy.test_robust_tracker import PLAIN
from tracker import RobustOptions, Session, Track, Tracker, TrackerOptions
from tracker.host_arrays import HostBuffers
from tracker.options import EngineOptions
from tracker.step.pending_step import PendingStep

POLICIES = pytest.mark.parametrize(
    "robust",
    [None, PLAIN],
    ids=["sam2", "robust"],
)


def tracker_of(
    robust: RobustOptions | None, *, buffers: bool = True, device: str = "cpu"
) -> Tracker:
    """A tracker that delivers as on a device: whole masks, transferred through host buffers."""
    options = TrackerOptions(
        max_objects=8,
        non_overlap=True,
        return_logits=True,
        compute_dtype="float32",
        memory_policy="sam2" if robust is None else "robust",
        robust=robust or RobustOptions(),
        # Compiling kernels takes minutes on a device.
        engine=EngineOptions(smaller_image_sizes=(32,), attention="sdpa"),
    )
    weights = amplified_weights(shapes_of(LITTLE), seed=1, object_score_bias=4.0)
    tracker = Tracker(model_with(LITTLE, weights), torch.device(device), options)
    if buffers and device == "cpu":
        tracker._frame_step._host_buffers = HostBuffers(pinned=False)
    return tracker


def assert_identical(ours: Sequence[Track], theirs: Sequence[Track]) -> None:
    assert [track.object_id for track in ours] == [track.object_id for track in theirs]
    for own, other in zip(ours, theirs, strict=True):
        for name in (
            "state",
            "box_xyxy",
            "area",
            "predicted_iou",
            "object_score",
            "pointer_similarity",
            "predicted_box_xyxy",
        ):
            assert getattr(own, name) == getattr(other, name), name
        np.testing.assert_array_equal(own.crop, other.crop)
        np.testing.assert_array_equal(own.logits, other.logits)


class Ahead:
    """Submits each step before collecting the previous one."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.results: list[list[list[Track]]] = []
        self._before: PendingStep | None = None

    def step(self, batch: Sequence[tuple[Session, np.ndarray, list]]) -> None:
        pending = self.tracker.submit(batch)
        self.end()
        self._before = pending

    def end(self) -> None:
        if self._before is not None:
            self.results.append(self._before.collect())
            self._before = None
