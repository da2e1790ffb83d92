"""What an exported memory encoder computes otherwise gives the same."""

from __future__ import annotations

import pytest
import torch

from tracker.model.layers import LayerNorm2d
from tracker.model.memory_encoder import scaled_mask


def test_masks_upsampled_by_products_are_those_of_interpolation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = torch.randn(3, 1, 20, 20, generator=torch.Generator().manual_seed(0)) * 5
    prompted = torch.tensor([False, True, False])
    expected = scaled_mask(logits, prompted, 80)
    assert set(expected[1].unique().tolist()) == {-10, 10}
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(scaled_mask(logits, prompted, 80), expected)


@pytest.mark.parametrize("channels", [4, 64])
def test_an_exported_norm_is_the_norm(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    norm, maps = LayerNorm2d(channels), torch.randn(2, channels, 5, 6) * 3 + 1
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    expected = norm(maps)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(norm(maps), expected)
