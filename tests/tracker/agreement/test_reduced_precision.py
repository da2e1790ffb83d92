"""bfloat16 and float16 follow float32 as closely as their digits allow.

The score bias keeps every object in the picture: with random weights it would flip otherwise,
and there is nothing to compare after that.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from tracker import Prompt, Track, Tracker, TrackerOptions
from tracker.model.products import Linear
from tracker.precision import autocast, compute_in

from .scripts import SMALL, disc, model_with, picture, small_weights

VISIBLE_BIAS = 6.0
Precision = Literal["float32", "bfloat16", "float16"]


def run(
    memory: Precision, compute: Precision, generation: Literal["2.0", "2.1"] = "2.1"
) -> list[Track]:
    config = SMALL.replaced(memory_dtype=memory, generation=generation)
    model = model_with(config, small_weights(generation, VISIBLE_BIAS))
    options = TrackerOptions(
        max_objects=3, memory_policy="sam2", return_logits=True, compute_dtype=compute
    )
    tracker = Tracker(model, torch.device("cpu"), options)
    session = tracker.open_session()
    prompts = [
        Prompt(1, ((150, 60),), (1,)),
        Prompt(2, box_xyxy=(30, 40, 90, 120)),
        Prompt(3, mask=disc(60, 70, 25)),
    ]
    tracks: list[Track] = []
    for index in range(5):
        tracks += tracker.step([(session, picture(index), prompts if index == 0 else [])])[0]
    return tracks + tracker.correct(session, [Prompt(1, ((10, 10),), (0,))]).tracks


def test_places_of_clicks_are_not_rounded() -> None:
    model = model_with(SMALL, small_weights())
    points, labels = torch.rand(3, 2, 2) * 256, torch.ones(3, 2, dtype=torch.long)
    with torch.inference_mode():
        exact = model.encode_prompts(points, labels)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model.encode_prompts(points, labels)
            grid = model.sam_prompt_encoder.dense_position()
        torch.testing.assert_close(rounded.sparse_NKC, exact.sparse_NKC)
        torch.testing.assert_close(grid, model.sam_prompt_encoder.dense_position())


def test_only_products_of_the_trunk_are_rounded_on_a_processor() -> None:
    exact, rounded = (model_with(SMALL, small_weights()) for _ in range(2))
    compute_in(rounded, torch.bfloat16, torch.device("cpu"))
    assert {module.weight.dtype for module in rounded.modules() if type(module) is Linear} == {
        torch.bfloat16,
        torch.float32,
    }
    assert rounded.memory_attention.layers[0].linear1.weight.dtype == torch.float32
    image = torch.randn(1, 3, 256, 256)
    with torch.inference_mode(), autocast(torch.bfloat16, torch.device("cpu")):
        for own, other in zip(rounded.encode_image(image), exact.encode_image(image), strict=True):
            assert own.dtype == torch.float32
            error = (own - other).norm() / other.norm()
            assert 0 < error < 1e-2


def test_weights_stored_as_computed_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = run("bfloat16", "bfloat16")
    monkeypatch.setattr("tracker.precision.store_as_computed", lambda *_: None)
    for own, other in zip(stored, run("bfloat16", "bfloat16"), strict=True):
        np.testing.assert_array_equal(own.logits, other.logits)
        assert own.predicted_iou == other.predicted_iou


@pytest.mark.parametrize("generation", ["2.0", "2.1"])
@pytest.mark.parametrize(
    ("memory", "compute", "tolerance"),
    [
        ("float16", "float32", 2e-3),
        ("bfloat16", "float32", 1e-2),
        ("float16", "float16", 2e-2),
        ("bfloat16", "bfloat16", 1e-1),
    ],
)
def test_reduced_precision_stays_near_float32(
    memory: Precision,
    compute: Precision,
    tolerance: float,
    generation: Literal["2.0", "2.1"],
) -> None:
    exact = run("float32", "float32", generation)
    rounded = run(memory, compute, generation)
    for own, other in zip(rounded, exact, strict=True):
        assert own.logits is not None
        assert other.logits is not None
        assert own.logits.dtype == np.float32
        assert np.abs(own.logits - other.logits).max() < tolerance * np.abs(other.logits).max()
        assert abs(own.predicted_iou - other.predicted_iou) < tolerance
