"""The Triton kernels by plain torch, for tests of what calls them.

``interpreted_attention`` compares the kernels themselves.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.engine import attention_choice, device_attention


def use_plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kernel in (
        ("rotated", rotated),
        ("add_norm", add_norm),
        ("memory_keys", memory_keys),
    ):
        monkeypatch.setattr(device_attention, name, kernel)
    monkeypatch.setattr(attention_choice, "attend", attend)


def rotated(x_NLkC: Tensor, rotation_LC: Tensor) -> Tensor:
    return torch.stack([turned(x_NLC, rotation_LC) for x_NLC in x_NLkC.unbind(2)])


def turned(x_NLC: Tensor, rotation_LC: Tensor) -> Tensor:
    first, second = x_NLC.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = rotation_LC.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = first * cosine - second * sine, first * sine + second * cosine
    return torch.stack(pairs, dim=-1).flatten(-2).to(x_NLC.dtype)


def add_norm(
    x: Tensor, update: Tensor, weight: Tensor, bias: Tensor, epsilon: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    total = x.float() + update.float()
    return total, F.layer_norm(total, weight.shape, weight, bias, epsilon).to(dtype)


def memory_keys(
    spatial_NMc: Tensor,
    age_code_NFc: Tensor,
    place_code_Lc: Tensor,
    plain_NPc: Tensor,
    weight_Cc: Tensor,
    bias_C: Tensor,
    rotation_LC: Tensor,
) -> Tensor:
    coded = spatial_NMc + (age_code_NFc[:, :, None] + place_code_Lc).flatten(1, 2)
    key = F.linear(torch.cat((coded, plain_NPc), dim=1).to(weight_Cc.dtype), weight_Cc, bias_C)
    on_grid, plain = key.split((coded.shape[1], plain_NPc.shape[1]), dim=1)
    repeated = rotation_LC.repeat(age_code_NFc.shape[1], 1)
    return torch.cat((turned(on_grid, repeated), plain), dim=1)


def attend(
    query: Tensor, key: Tensor, value: Tensor, plain: int, real_N2: Tensor | None, *_: object
) -> Tensor:
    mask = None
    if real_N2 is not None:
        place = torch.arange(key.shape[1], device=key.device)
        last = place - (key.shape[1] - plain)
        mask = ((last < 0) & (place < real_N2[:, :1])) | ((last >= 0) & (last < real_N2[:, 1:]))
        mask = mask[:, None]
    return F.scaled_dot_product_attention(query, key, value.to(query.dtype), mask)
