"""Attention before the projection of values equals attention after it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.model.cpu_paths import FUSED, CpuPaths, using
from tracker.model.narrow_values import attend_narrow, narrow_is_faster
from tracker.model.position_encoding import axial_rotations, rotate, rotate_first


def test_projection_after_attention_is_projection_before() -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    query, key, value = random(3, 300, 32), random(3, 200, 32), random(3, 200, 8)
    projection = nn.Linear(8, 32)
    with torch.inference_mode():
        before = F.scaled_dot_product_attention(query, key, projection(value))
        after = projection(attend_narrow(query, key, value))
    torch.testing.assert_close(after, before)


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
