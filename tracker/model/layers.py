"""Small layers that several parts of the network share.

Dimensions: B batch, N objects, C channels, H W grid, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.model import cpu_paths
from tracker.model.chunked_attention import attend_in_chunks, takes_chunks
from tracker.model.onednn_linear import Linear, activated

# PyTorch's fused kernel takes 40 ns per row however short: 8 times the arithmetic of 4 channels.
_FEW_CHANNELS = 8


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of a (B, C, H, W) map, epsilon 1e-6 everywhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        if x_BCHW.shape[1] < _FEW_CHANNELS or torch.compiler.is_exporting():
            # An exported network's runtime fuses this, and keeps its layout.
            deviation = x_BCHW.float() - x_BCHW.float().mean(dim=1, keepdim=True)
            scale = (deviation.square().mean(dim=1, keepdim=True) + 1e-6).rsqrt()
            return deviation * scale * self.weight[:, None, None] + self.bias[:, None, None]
        # A permuted copy for PyTorch's fused kernel is much faster on a CPU than mean/var/div.
        x_BHWC = F.layer_norm(
            x_BCHW.permute(0, 2, 3, 1), (x_BCHW.shape[1],), self.weight, self.bias, 1e-6
        )
        return x_BHWC.permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Linear layers with one activation between them and none after the last."""

    def __init__(
        self, widths: Sequence[int], activation: type[nn.Module], sigmoid_output: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(before, after) for before, after in pairwise(widths))
        self.activation = activation()
        self.sigmoid_output = sigmoid_output

    def forward(self, x: Tensor) -> Tensor:
        """(..., widths[0]) -> (..., widths[-1]), in the dtype of the weights."""
        last = len(self.layers) - 1
        assert isinstance(self.layers[0], Linear)
        x = self.layers[0].rounded(x)  # once, instead of in every layer
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Linear)
            x = activated(layer, self.activation, x) if index < last else layer(x)
        return x.sigmoid() if self.sigmoid_output else x


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention, (..., L, C) and (..., S, C) twice -> (..., L, C).

    Training on a CPU uses plain matrix products: the fused kernel's backward pass there is up to
    ten times slower on the trunk's short windows.
    """
    if query.device.type == "cpu" and mask is None and torch.is_grad_enabled():
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        attended: Tensor = scores.softmax(dim=-1) @ value
        return attended
    path = cpu_paths.current().wide
    if mask is None and takes_chunks(query, key, path):
        rows = attend_in_chunks(
            query.flatten(0, -3), key.flatten(0, -3), value.flatten(0, -3), path
        )
        return rows.view(*query.shape[:-1], value.shape[-1])
    return F.scaled_dot_product_attention(query, key, value, mask)


def tokens_from_grid(x_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C), row by row."""
    return x_BCHW.flatten(2).transpose(1, 2)


def grid_from_tokens(x_BLC: Tensor, height: int, width: int) -> Tensor:
    """(B, H*W, C) -> (B, C, H, W); the inverse of ``tokens_from_grid``."""
    x_BCHW: Tensor = x_BLC.transpose(1, 2).unflatten(2, (height, width))
    return x_BCHW


def split_heads(x_BLC: Tensor, heads: int) -> Tensor:
    """(B, L, C) -> (B, heads, L, C / heads)."""
    x_BLhc: Tensor = x_BLC.unflatten(2, (heads, -1))
    return x_BLhc.transpose(1, 2)


def join_heads(x_BhLc: Tensor) -> Tensor:
    """(B, heads, L, c) -> (B, L, heads * c)."""
    return x_BhLc.transpose(1, 2).flatten(2)
