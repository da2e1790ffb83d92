"""The batched optimiser and attention with gradients agree with PyTorch's own."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from tests.tracker.training.tiny_model import TINY
from tracker.model import Sam2
from tracker.model.layers import attend
from tracker.training.clip_memory import frame_times
from tracker.training.optimise import (
    BatchedMuon,
    Optimiser,
    fast_dtype,
    orthogonalise,
)
from tracker.training.recipe import Recipe


def test_batched_muon_equals_pytorchs() -> None:
    generator = torch.Generator().manual_seed(0)

    def matrices() -> list[nn.Parameter]:
        draw = torch.Generator().manual_seed(1)
        shapes = [(8, 24), (8, 24), (24, 8), (16, 16), (8, 24)]
        return [nn.Parameter(torch.randn(shape, generator=draw)) for shape in shapes]

    ours, theirs = matrices(), matrices()
    settings = {"lr": 1e-2, "weight_decay": 0.02, "momentum": 0.95}
    batched = BatchedMuon(ours, **settings)
    plain = torch.optim.Muon(theirs, **settings, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        batched.step()
        plain.step()
    for one, other in zip(ours, theirs, strict=True):
        # PyTorch's orthogonalises in bfloat16.
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


@pytest.mark.parametrize("units", ["_is_avx512_bf16_supported", "_is_amx_tile_supported", None])
def test_matrices_are_orthogonalised_in_what_the_processor_multiplies_fast(
    units: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda there=name == units: there)
    expected = torch.float32 if units is None else torch.bfloat16
    assert fast_dtype(torch.device("cpu")) is expected
    made = orthogonalise(torch.randn(2, 8, 24, generator=torch.Generator().manual_seed(0)))
    assert made.dtype is expected
    singular = torch.linalg.svdvals(made.float())
    assert 0.6 < float(singular.min()) <= float(singular.max()) < 1.3


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_trained_trunk_learns_at_its_share_of_the_rate(
    kind: Literal["adamw", "muon"], tiny_recipe: Recipe
) -> None:
    model = Sam2(TINY)
    recipe = replace(tiny_recipe, optimizer=kind, trunk_rate=0.1)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = Optimiser(model, recipe)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step(1e-2)
    moved = {
        name: float((value.detach() - before[name]).abs().max())
        for name, value in model.named_parameters()
    }
    # AdamW's first step is the learning rate itself.
    assert moved["image_encoder.trunk.patch_embed.proj.bias"] == pytest.approx(1e-3, rel=0.01)
    assert moved["no_obj_ptr"] == pytest.approx(1e-2, rel=0.01)


def test_attention_is_the_same_with_and_without_gradients() -> None:
    draw = torch.Generator().manual_seed(2)
    query, key, value = (torch.randn(2, 3, n, 8, generator=draw) for n in (5, 7, 7))
    trained: Tensor = attend(query, key, value)
    with torch.no_grad():
        frozen = attend(query, key, value)
    torch.testing.assert_close(trained, frozen)


def test_frames_of_a_clip_are_numbered_as_in_a_long_stream() -> None:
    generator = torch.Generator().manual_seed(3)
    drawn = [frame_times(5, generator) for _ in range(200)]
    assert all(times[0] == 0 for times in drawn)
    assert all(1 <= b - a <= 3 for times in drawn for a, b in itertools.pairwise(times[1:]))
    first = [times[1] for times in drawn]
    assert min(first) == 1
    assert 100 < max(first) <= 256
    assert [0, 1, 2, 3, 4] in drawn
