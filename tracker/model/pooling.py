"""A memory at half the resolution: four neighbours answer as one, with four times the weight.

The mean key of a 2×2 block stands for its four; that there are four of them is told by adding
ln 4 to its score. Exact where the four are equal, and of first order where they differ little:
the mean of q·k is q·(mean k). Attention costs a quarter. Not the published model.

Dimensions: N objects, L queries, S = M + P keys of which the last P are pointers', C channels,
c channels of the values, T = M / 4 + P.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class PooledMemory(NamedTuple):
    """Keys and values, and what is added to every score: (1 or N, T)."""

    key_NTC: Tensor
    value_NTc: Tensor
    bias_T: Tensor


def pool_memory(
    key_NSC: Tensor, value_NSc: Tensor, plain_keys: int, tokens: int, valid_NS: Tensor | None
) -> PooledMemory:
    """Pool whole frames of ``tokens`` cells, row by row; the last ``plain_keys`` stay.

    A frame is real or not as a whole. Raises ValueError for a grid with an odd side.
    """
    side = math.isqrt(tokens)
    if side % 2:
        raise ValueError(f"a grid of {side} x {side} cells has no 2x2 blocks")
    spatial = key_NSC.shape[1] - plain_keys
    bias_1T = key_NSC.new_zeros(1, spatial // 4 + plain_keys, dtype=torch.float32)
    bias_1T[:, : spatial // 4] = math.log(4)
    if valid_NS is not None:
        real = torch.cat((valid_NS[:, :spatial:4], valid_NS[:, spatial:]), dim=1)
        bias_1T = torch.where(real, bias_1T, -torch.inf)
    return PooledMemory(_pooled(key_NSC, spatial, side), _pooled(value_NSc, spatial, side), bias_1T)


def attend_pooled(query_NLC: Tensor, key_NTC: Tensor, value_NTc: Tensor, bias_T: Tensor) -> Tensor:
    """Softmax attention with a bias for every key -> (N, L, c)."""
    return F.scaled_dot_product_attention(
        query_NLC,
        key_NTC,
        value_NTc.to(query_NLC.dtype),
        bias_T[:, None].to(query_NLC.dtype),
    )


def _pooled(rows_NSC: Tensor, spatial: int, side: int) -> Tensor:
    blocks = rows_NSC[:, :spatial].unflatten(1, (-1, side // 2, 2, side // 2, 2))
    return torch.cat((blocks.mean(dim=(3, 5)).flatten(1, 3), rows_NSC[:, spatial:]), dim=1)
