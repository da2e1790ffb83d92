"""Padded rows and memories in fixed shapes agree with `transformers` as plain ones do."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch

from tests.tracker.agreement.comparison import (
    RELATIVE_TOLERANCE,
    ObservedTracker,
    Output,
    Scale,
    run_ours,
    run_reference,
)
from tests.tracker.agreement.scripts import SMALL, model_with, small_weights
from tests.tracker.agreement.test_streams import SCRIPTS
from tests.tracker.engine.plain_kernels import turned, use_plain_kernels
from tracker.engine import device_attention
from tracker.engine.attention_choice import BLOCKS, SETTLED, by_triton
from tracker.engine.device_attention import DeviceAttention
from tracker.options import EngineOptions

Plant = Callable[[pytest.MonkeyPatch], None]


SCRIPT = SCRIPTS["several conditioning frames"]


@cache
def by_transformers() -> list[Output]:
    weights = small_weights(SCRIPT.generation, SCRIPT.object_score_bias)
    return list(run_reference(SMALL, weights, SCRIPT.frames))


def difference(change: Callable[[ObservedTracker], None]) -> float:
    """The largest of a tracker with fixed shapes."""
    weights = small_weights(SCRIPT.generation, SCRIPT.object_score_bias)
    tracker = ObservedTracker(model_with(SMALL, weights), engine=EngineOptions(fixed_shapes="on"))
    change(tracker)
    theirs = by_transformers()
    scale = Scale(theirs)
    differences = [
        scale.difference(own, other)
        for own, other in zip(run_ours(tracker, SCRIPT.frames), theirs, strict=True)
    ]
    assert tracker.engine_counts.shapes > 0
    return max(differences)


def on_a_device(tracker: ObservedTracker) -> None:
    """Its memory attention, by plain torch."""
    model = tracker.model()
    ours = DeviceAttention(model, {1: SETTLED}, {1: SETTLED, 2: by_triton(BLOCKS[0], 2)})
    tracker._engine._attention[model.config.image_size] = ours


@pytest.mark.parametrize("change", [lambda _: None, on_a_device])
def test_tracker_with_fixed_shapes_agrees_with_transformers(
    change: Callable[[ObservedTracker], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_plain_kernels(monkeypatch)
    assert difference(change) < RELATIVE_TOLERANCE


def rotated_pointers(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = device_attention.memory_keys

    def all_rotated(*arguments: torch.Tensor) -> torch.Tensor:
        key, rotation = keys(*arguments), arguments[-1]
        last = arguments[3].shape[1]
        wrong = turned(key[:, -last:], rotation[:last])
        return torch.cat((key[:, :-last], wrong), dim=1)

    monkeypatch.setattr(device_attention, "memory_keys", all_rotated)


def padding_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_attention, "_real", lambda *_: None)


def epsilon_of_the_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = device_attention.add_norm
    monkeypatch.setattr(
        device_attention, "add_norm", lambda *given: norm(*given[:4], 1e-6, given[5])
    )


@pytest.mark.parametrize("plant", [rotated_pointers, padding_is_read, epsilon_of_the_trunk])
def test_mistakes_in_a_device_s_memory_attention_are_caught(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_plain_kernels(monkeypatch)
    plant(monkeypatch)
    assert difference(on_a_device) > 2 * RELATIVE_TOLERANCE
