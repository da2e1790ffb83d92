"""Every position code of the network: sine over a grid, sine over time, random Fourier, RoPE.

Dimensions: C channels, H W grid, L = H*W tokens, N objects, K points.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sine_grid(channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """The sine code of DETR (arXiv 2005.12872), normalised to 2π, rows first: (C, H, W) float32."""
    half = channels // 2
    exponent = 2 * torch.arange(half, device=device).div(2, rounding_mode="floor") / half
    period = 10000.0**exponent

    def axis(length: int) -> Tensor:
        place = torch.arange(1, length + 1, device=device, dtype=torch.float32)
        angle = (place / (length + 1e-6) * 2 * math.pi)[:, None] / period
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    rows = axis(height)[:, None, :].expand(height, width, half)
    columns = axis(width)[None, :, :].expand(height, width, half)
    return torch.cat((rows, columns), dim=2).permute(2, 0, 1).contiguous()


def sine_time(position: Tensor, channels: int) -> Tensor:
    """A sine code of scalar positions: (...) -> (..., C), all sines before all cosines."""
    half = channels // 2
    exponent = 2 * torch.arange(half, device=position.device).div(2, rounding_mode="floor") / half
    angle = position[..., None].float() / 10000.0**exponent
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


def axial_rotations(channels: int, side: int, device: torch.device, spacing: float = 1.0) -> Tensor:
    """The rotations of axial RoPE (arXiv 2104.09864 in two dimensions), θ = 10000.

    The first half of the channel pairs rotates with the column, the second with the row.
    ``spacing``: the distance of two cells, in cells of the grid used in training.
    Returns unit complex numbers, (L, C / 2).
    """
    pairs = channels // 4
    frequency = 10000.0 ** -(torch.arange(pairs, device=device).float() * 4 / channels)
    frequency = frequency * spacing
    place = torch.arange(side * side, device=device)
    column = (place % side).float()[:, None] * frequency
    row = place.div(side, rounding_mode="floor").float()[:, None] * frequency
    angle = torch.cat((column, row), dim=1)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate neighbouring channel pairs of (..., L, C) by complex (L, C / 2).

    One complex product is 19 times as fast on a CPU as sines and cosines on real halves.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)


def rotate_first(x_NSC: Tensor, count: int, rotation: Tensor) -> Tensor:
    """Rotate the first ``count`` tokens; ``rotation`` repeats for every remembered frame.

    Without gradients ``x`` is overwritten, which is three times as fast on a CPU.
    """
    length = rotation.shape[0]
    x_NFLC = x_NSC[:, :count].unflatten(1, (count // length, length))
    if torch.is_grad_enabled():
        return torch.cat((rotate(x_NFLC, rotation).flatten(1, 2), x_NSC[:, count:]), dim=1)
    pairs = x_NFLC.float().unflatten(-1, (-1, 2))
    torch.view_as_complex(pairs).mul_(rotation)
    if x_NSC.dtype != torch.float32:
        x_NFLC.copy_(pairs.flatten(-2))
    return x_NSC


def rotate_exported(layer: nn.Linear, x_NLC: Tensor, rotation_L2: Tensor) -> Tensor:
    """``rotate`` of a layer's results, for an export.

    ``rotation_L2`` is real, (L, C / 2, 2): exported networks have no complex numbers.
    """
    even, odd = _rotated_halves(layer, x_NLC, rotation_L2)
    return torch.stack((even, odd), dim=-1).flatten(-2)


def rotate_in_halves(
    layer: nn.Linear, x_NSC: Tensor, rotation_L2: Tensor, plain: int = 0
) -> Tensor:
    """``rotate_first`` of a layer's results, all tokens but the last ``plain``, for an export.

    The channels come in halves, see ``in_halves``: OpenVINO takes long to put pairs together.
    """
    return torch.cat(_rotated_halves(layer, x_NSC, rotation_L2, plain), dim=-1)


def in_halves(x_NLC: Tensor) -> Tensor:
    """All even channels, then all odd ones; a product of two such is that of the channels."""
    halves_N2c: Tensor = x_NLC.unflatten(-1, (-1, 2)).transpose(-1, -2)
    return halves_N2c.flatten(-2)


def _rotated_halves(
    layer: nn.Linear, x_NSC: Tensor, rotation_L2: Tensor, plain: int = 0
) -> tuple[Tensor, Tensor]:
    """The even and the odd channels, rotated, each from a product of its own."""
    frames = (x_NSC.shape[1] - plain) // len(rotation_L2)
    cosine_Lc, sine_Lc = rotation_L2.repeat(frames, 1, 1).unbind(2)
    cosine_Sc = nn.functional.pad(cosine_Lc, (0, 0, 0, plain), value=1)
    sine_Sc = nn.functional.pad(sine_Lc, (0, 0, 0, plain))
    even, odd = (
        nn.functional.linear(x_NSC, layer.weight[half::2], layer.bias[half::2]) for half in (0, 1)
    )
    return even * cosine_Sc - odd * sine_Sc, even * sine_Sc + odd * cosine_Sc


class RandomFourierPosition(nn.Module):
    """Positions in the unit square through a fixed random projection (arXiv 2006.10739)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, place_xy: Tensor) -> Tensor:
        """(..., 2) in 0..1 -> (..., C)."""
        x, y = (2 * place_xy - 1).unsqueeze(-1).unbind(dim=-2)
        # Not a matrix product: autocast would round positions to the 8 bits of bfloat16.
        along_x, along_y = self.positional_encoding_gaussian_matrix
        angle = 2 * math.pi * (x * along_x + y * along_y)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def grid(self, side: int) -> Tensor:
        """The code of every cell centre of a square grid: (C, side, side)."""
        matrix = self.positional_encoding_gaussian_matrix
        centre = (torch.arange(side, device=matrix.device, dtype=matrix.dtype) + 0.5) / side
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        encoded: Tensor = self(torch.stack((x, y), dim=-1))
        return encoded.permute(2, 0, 1)
