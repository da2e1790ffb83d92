"""Convolutions in one pass with their activation equal PyTorch's, up to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.model.onednn_convolution import convolve


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 2, 1), (5, 1, 12)])
@pytest.mark.parametrize("relu6", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_one_pass_gives_what_three_do(
    kernel: int, stride: int, groups: int, relu6: bool, adds: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(12, 24, kernel, stride, groups=groups)
    padding = (kernel // 2, kernel // 2)
    x = 10 * torch.randn(2, 12, 20, 22).contiguous(memory_format=torch.channels_last)
    plain = F.conv2d(x, layer.weight, layer.bias, stride, padding, 1, groups)
    add = torch.randn_like(plain) if adds else None

    def convolved() -> Tensor:
        return convolve(layer, x, padding, relu6=relu6, add_BOHW=add)

    expected = plain if add is None else plain + add
    expected = F.relu6(expected) if relu6 else expected
    with_gradients = convolved()
    assert with_gradients.grad_fn is not None
    torch.testing.assert_close(with_gradients, expected)
    with torch.inference_mode():
        torch.testing.assert_close(convolved(), expected)
