"""Attention before the projection of values equals attention after it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.model.cpu_paths import BY_MKL, BY_ONEDNN, FUSED, AttentionPath, CpuPaths, using
from tracker.model.narrow_values import attend_narrow, narrow_is_faster
from tracker.model.position_encoding import (
    axial_rotations,
    in_halves,
    rotate,
    rotate_exported,
    rotate_first,
    rotate_in_halves,
)


@pytest.mark.parametrize("path", [BY_MKL, AttentionPath("mkl", 64, 48), BY_ONEDNN])
@pytest.mark.parametrize("spread", [1, 20])
def test_projection_after_attention_is_projection_before(
    path: AttentionPath, spread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of three rows two threads take one each, and share the third.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    # A large spread makes most weights of the softmax underflow.
    query, key, value = spread * random(3, 300, 32), random(3, 200, 32), random(3, 200, 8)
    projection = nn.Linear(8, 32)
    with torch.inference_mode(), using(CpuPaths("mkl", path, FUSED)):
        before = F.scaled_dot_product_attention(query, key, projection(value))
        after = projection(attend_narrow(query, key, value))
    # Rounded scores are off in proportion to their size.
    torch.testing.assert_close(after, before, rtol=2e-6 * spread, atol=1e-5 * spread)


def test_training_masks_and_half_precision_keep_the_fused_kernel() -> None:
    key, value = torch.zeros(1, 300, 16), torch.zeros(1, 300, 8)
    assert not narrow_is_faster(key, key, value, None)  # gradients are on
    with torch.inference_mode():
        assert narrow_is_faster(key, key, value, None)
        assert not narrow_is_faster(key, key, value, torch.ones(1, 300, dtype=torch.bool))
        assert not narrow_is_faster(key.bfloat16(), key.bfloat16(), value, None)
        assert not narrow_is_faster(key, key, key, None)
        with using(CpuPaths("mkl", FUSED, FUSED)):  # as measured
            assert not narrow_is_faster(key, key, value, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("plain", [0, 3])
def test_keys_rotated_in_place_equal_those_rotated_in_a_copy(
    dtype: torch.dtype, plain: int
) -> None:
    rotation = axial_rotations(16, 4, torch.device("cpu"))
    tokens = torch.randn(2, 2 * 16 + plain, 16).to(dtype)
    turned = rotate(tokens[:, :32].unflatten(1, (2, 16)), rotation).flatten(1, 2)
    expected = torch.cat((turned, tokens[:, 32:]), dim=1)
    assert torch.equal(rotate_first(tokens.clone(), 32, rotation), expected)
    with torch.inference_mode():
        assert torch.equal(rotate_first(tokens.clone(), 32, rotation), expected)


@pytest.mark.parametrize("plain", [0, 3])
def test_keys_of_an_exported_network_are_rotated_alike(plain: int) -> None:
    rotation = axial_rotations(16, 4, torch.device("cpu"))
    layer, tokens = nn.Linear(8, 16), torch.randn(2, 2 * 16 + plain, 8)
    with torch.inference_mode():
        expected = rotate_first(layer(tokens), 32, rotation)
        made = rotate_in_halves(layer, tokens, torch.view_as_real(rotation), plain)
        query = rotate_exported(layer, tokens[:, :16], torch.view_as_real(rotation))
    torch.testing.assert_close(made, in_halves(expected))
    torch.testing.assert_close(query, expected[:, :16])
