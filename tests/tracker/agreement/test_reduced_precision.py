"""bfloat16 and float16 follow float32 as closely as their digits allow.

The score bias keeps every object in the picture: with random weights it would flip otherwise,
and there is nothing to compare after that.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import SMALL, disc, model_with, picture, small_weights
from tracker import Prompt, Track, Tracker, TrackerOptions
from tracker.model.precision import autocast, compute_in, store_as_computed

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


def test_on_a_processor_only_layers_that_the_masks_bear_are_rounded() -> None:
    exact, rounded = (model_with(SMALL, small_weights()) for _ in range(2))
    compute_in(rounded, torch.bfloat16, torch.device("cpu"))
    found = {
        name.removeprefix("image_encoder.trunk.blocks.")
        for name, parameter in rounded.named_parameters()
        if parameter.dtype == torch.bfloat16
    }
    # The last two stages are blocks 3, 4 and 5 of this network.
    assert {name.removesuffix(".weight") for name in found if name.endswith(".weight")} == {
        f"{block}.{layer}"
        for block in (3, 4, 5)
        for layer in ("attn.qkv", "mlp.layers.0", "mlp.layers.1")
    }
    image = torch.randn(1, 3, 256, 256)
    with torch.inference_mode(), autocast(torch.bfloat16, torch.device("cpu")):
        coarse, *fine = rounded.encode_image(image)
        exact_coarse, *exact_fine = exact.encode_image(image)
    assert coarse.dtype == torch.float32
    assert 0 < (coarse - exact_coarse).norm() / exact_coarse.norm() < 5e-3
    assert all(map(torch.equal, fine, exact_fine))


def test_weights_stored_as_computed_change_nothing() -> None:
    plain, stored = (model_with(SMALL, small_weights()) for _ in range(2))
    store_as_computed(stored, torch.bfloat16)
    image = torch.randn(1, 3, 256, 256)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # as on a CUDA device
        own, other = (model.encode_image(image) for model in (stored, plain))
    assert own.stride16_BCHW.dtype == torch.bfloat16
    assert all(map(torch.equal, own, other))


def test_predicted_iou_keeps_the_digits_of_float32_in_bfloat16() -> None:
    model = model_with(SMALL, small_weights())
    store_as_computed(model, torch.bfloat16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        features = model.encode_image(torch.randn(1, 3, 256, 256))
        conditioned = model.attend(features.stride16_BCHW, None)
        output = model.decode(conditioned, features, model.no_prompt(1, conditioned.device))
    assert output.mask_logits_N4hw.dtype == torch.bfloat16
    assert output.predicted_iou_N4.dtype == torch.float32
    assert (output.predicted_iou_N4.bfloat16() != output.predicted_iou_N4).any()


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
